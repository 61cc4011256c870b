use dialtone_contract::wire::{BatchOptions, Report};
use dialtone_contract::{BatchState, TenantId};
use dialtone_store::{BatchLimits, BatchStore as _};

use crate::rig::{Rig, START, at, s};

#[tokio::test]
async fn an_outage_of_livekit_is_told_by_status_event_and_report() {
    let mut rig = Rig::new().await;
    let options = BatchOptions { max_concurrent: 4, ..BatchOptions::default() };
    let id = rig.many("a", "cutoff", options, 40).await;
    rig.run(at(START) + s(12)).await;
    assert_eq!(rig.row("a", &id).await.reason, None);
    rig.livekit.set_down(true);
    rig.run(at(START) + s(60)).await;
    let row = rig.row("a", &id).await;
    let said = "livekit: 5 dispatches in a row were not taken; \
                the last: livekit cannot be reached: connection refused";
    assert_eq!((row.state, row.reason.as_deref()), (BatchState::Running, Some(said)));
    // An order of a user in between does not end it.
    let tenant = TenantId::new("a");
    let wider = |limits| BatchLimits { max_concurrent: Some(8), ..limits };
    rig.control().limit(&tenant, &id, wider).await.expect("limited");
    assert_eq!(rig.row("a", &id).await.reason.as_deref(), Some(said));
    rig.livekit.set_down(false);
    rig.run(at(START) + s(600)).await;
    let row = rig.row("a", &id).await;
    assert_eq!((row.state, row.reason), (BatchState::Completed, None));
    let events = rig.store.events(&tenant, &id, 0, 100_000).await.expect("read");
    let told: Vec<_> =
        events.iter().filter(|event| event.reason.as_deref() == Some(said)).collect();
    assert_eq!(told.len(), 2, "once by itself, once with the limits: {told:?}");
    let report: Report =
        serde_json::from_str(&rig.store.reports(&tenant, &id).await.expect("read")[0]).expect("it");
    let [outage] = report.livekit_outages.items.as_slice() else { panic!("{report:?}") };
    assert_eq!(report.livekit_outages.total, 1);
    assert_eq!(outage.from, told[0].at);
    assert!(outage.until.expect("over") >= at(START) + s(60), "{outage:?}");
    assert!(outage.reason.ends_with("connection refused"), "{outage:?}");
}
