//! The data directory: one owner, and a clear word when it cannot be used.

use std::process::Output;

use dialtone_tests::wait::soon;
use dialtone_tests::{Rig, Setup, TestBatch};

/// A second server on the stack's data directory.
async fn second(rig: &Rig) -> Output {
    let mut command = rig.command("serve");
    let output = soon("the second server", command.args(["--api-port", "0"]).output());
    output.await.expect("run")
}

fn said(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    said
}

#[tokio::test]
async fn a_second_server_is_refused_by_its_owners_pid() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let said = said(&second(rig).await);
            assert!(said.contains(&rig.dialtone.pid().to_string()), "{said}");
            assert!(said.contains(&rig.data_dir().display().to_string()), "{said}");
            // The first one has not noticed.
            rig.api.trigger(&TestBatch::of(1, 0, 0, 0)).await;
        })
        .await;
}

#[tokio::test]
async fn a_database_that_is_none_is_named_and_left_alone() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            rig.api.trigger(&TestBatch::of(3, 0, 0, 0)).await;
            rig.dialtone.kill().await;
            let path = rig.data_dir().join("dialtone.db");
            for journal in ["dialtone.db-wal", "dialtone.db-shm"] {
                // They are there or not, as the last checkpoint left them.
                let _ = std::fs::remove_file(rig.data_dir().join(journal));
            }
            let garbage = b"this is no database, whatever its name says. ".repeat(200);
            std::fs::write(&path, &garbage).expect("written");
            let said = said(&second(rig).await);
            assert!(said.contains("dialtone.db"), "{said}");
            assert_eq!(std::fs::read(&path).expect("readable"), garbage);
        })
        .await;
}

#[tokio::test]
async fn verify_says_what_it_cannot_find() {
    Setup::at(1)
        .without_worker()
        .run(async |rig| {
            let mut command = rig.command("verify");
            let output = soon("verify", command.args(["--batch", "bat_0"]).output()).await;
            let said = said(&output.expect("run"));
            assert!(said.contains("bat_0"), "{said}");
            // A running server may own the directory, and move the rows meanwhile.
            for _ in 0..5 {
                let batch = rig.api.trigger(&TestBatch::of(30, 0, 0, 0)).await;
                rig.verify(&batch).await;
            }
        })
        .await;
}
