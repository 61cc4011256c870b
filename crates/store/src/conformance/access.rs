//! What every engine of [`Access`] must do.

use dialtone_auth::KeyHash;
use dialtone_clock::Timestamp;
use dialtone_contract::TenantId;

use crate::{Access, NewApiKey};

fn key(id: &str, at: i64) -> NewApiKey {
    let (name, hash) = (Some(format!("of {id}")), KeyHash::of(id));
    NewApiKey { id: id.to_owned(), name, hash, at: Timestamp::from_micros(at) }
}

/// Runs all cases over an empty store.
///
/// # Panics
/// If the engine is wrong.
pub async fn access(store: &dyn Access) {
    let [acme, other, nobody] = ["acme", "other", "nobody"].map(TenantId::new);
    assert!(!store.has_api_keys().await.expect("read"));
    assert!(store.add_tenant(&other).await.expect("added"));
    assert!(store.add_tenant(&acme).await.expect("added"));
    assert!(!store.add_tenant(&acme).await.expect("answered"), "a tenant is added once");
    assert_eq!(store.tenants().await.expect("read"), [acme.clone(), other.clone()]);

    assert!(store.add_voice(&acme, "v").await.expect("added"));
    assert!(!store.add_voice(&acme, "v").await.expect("answered"));
    assert!(store.add_voice(&other, "v").await.expect("added"), "a name is a tenant's own");
    assert!(!store.add_voice(&nobody, "v").await.expect("answered"));
    assert!(store.add_user(&acme, 7).await.expect("added"));
    assert!(!store.add_user(&acme, 7).await.expect("answered"));
    assert!(!store.add_user(&nobody, 7).await.expect("answered"));

    for (tenant, id, at) in [(&acme, "b", 2), (&acme, "a", 1), (&other, "c", 3)] {
        assert!(store.add_api_key(tenant, key(id, at)).await.expect("added"));
    }
    assert!(!store.add_api_key(&other, key("a", 9)).await.expect("answered"), "an id is one key");
    assert!(!store.add_api_key(&nobody, key("d", 9)).await.expect("answered"));
    let listed = store.api_keys(&acme).await.expect("read");
    assert_eq!(listed.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(listed.iter().all(|key| key.tenant == acme));
    assert_eq!(listed[0].name.as_deref(), Some("of a"));
    assert_eq!(listed[0].hash, KeyHash::of("a"));
    assert_eq!(store.api_keys(&nobody).await.expect("read"), []);

    let at = Timestamp::from_micros(10);
    assert!(!store.revoke_api_key(&other, "a", at).await.expect("answered"), "not theirs");
    assert!(store.revoke_api_key(&acme, "a", at).await.expect("revoked"));
    let later = Timestamp::from_micros(11);
    assert!(!store.revoke_api_key(&acme, "a", later).await.expect("answered"));
    let row = store.api_key("a").await.expect("read").expect("there");
    assert_eq!((row.tenant, row.revoked_at), (acme, Some(at)));
    let row = store.api_key("c").await.expect("read").expect("there");
    assert_eq!((row.tenant, row.revoked_at), (other, None));
    assert_eq!(store.api_key("d").await.expect("read"), None);
    assert!(store.has_api_keys().await.expect("read"));
}
