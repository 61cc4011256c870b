//! Beats that are right, and every way in which they are not.

use dialtone_contract::wire::WorkerDetails;

use super::*;

const INTERVAL: Duration = Duration::from_millis(250);
/// Too long ago for a beat that has just come.
const NEAR_TWICE: jiff::SignedDuration = jiff::SignedDuration::from_secs(2 * NEAR);

fn expected() -> Expected {
    Expected {
        worker_id: "w-1".into(),
        nonce: "ours".into(),
        pid: 7,
        port: 4000,
        model_id: "tiny".into(),
        backend: "cpu",
        slots: 4,
        interval: INTERVAL,
    }
}

fn beat(seq: u64) -> Heartbeat {
    Heartbeat {
        worker_id: "w-1".into(),
        timestamp: jiff::Timestamp::now().to_string(),
        health_status: if seq == 0 { WorkerHealth::Starting } else { WorkerHealth::Healthy },
        seq,
        nonce: Some("ours".into()),
        worker: WorkerDetails {
            id: "w-1".into(),
            pid: 7,
            model_id: "tiny".into(),
            backend: "cpu".into(),
            device: "avx2".into(),
            port: 4000,
            status: "idle".into(),
            implementation: "llm-worker".into(),
            version: "1".into(),
        },
        slots_total: if seq == 0 { 0 } else { 4 },
        slots_busy: 0,
        queue_depth: 0,
        tokens_per_sec: 0.0,
        rss_bytes: Some(1),
    }
}

/// Six beats, one each interval, the last one a moment ago.
fn good() -> (Vec<Arrival>, Instant) {
    let began = Instant::now();
    let arrivals = (0..6)
        .map(|seq| Arrival {
            at: began + INTERVAL * u32::try_from(seq).expect("small"),
            beat: Ok(beat(seq)),
            status: 200,
        })
        .collect();
    (arrivals, began + INTERVAL * 6)
}

#[test]
fn regular_beats_are_right() {
    let (arrivals, now) = good();
    let seen = judge(&arrivals, &expected(), now).expect("right");
    assert_eq!(seen, Seen { count: 6, gap_p99: INTERVAL, rss_bytes: Some(1) });
}

#[test]
fn every_way_to_be_wrong_is_named() {
    type Spoil = fn(&mut Vec<Arrival>);
    fn change(arrivals: &mut [Arrival], n: usize, change: impl Fn(&mut Heartbeat)) {
        change(arrivals[n].beat.as_mut().expect("readable"));
    }
    let cases: [(Spoil, &str); 22] = [
        (|a| a.clear(), "no heartbeat came"),
        (|a| a.truncate(1), "no beat says that the worker is healthy"),
        (|a| a.truncate(2), "the last beat is 1250 ms old"),
        (|a| a[2].beat = Err("EOF".into()), "cannot be read: EOF"),
        (|a| change(a, 2, |b| b.worker_id = "w-2".into()), "of the worker `w-2`"),
        (|a| change(a, 2, |b| b.nonce = Some("x".into())), "shows another nonce"),
        (|a| change(a, 2, |b| b.nonce = None), "shows no nonce"),
        (|a| drop(a.remove(2)), "seq 3 where 2 must come"),
        (|a| change(a, 0, |b| b.seq = 1), "seq 1 where 0 must come"),
        (|a| change(a, 0, |b| b.health_status = WorkerHealth::Healthy), "not `starting`"),
        (|a| change(a, 3, |b| b.health_status = WorkerHealth::Draining), "says `draining`"),
        (|a| change(a, 3, |b| b.slots_total = 5), "slots_total is `5`, not `4`"),
        (|a| change(a, 3, |b| b.slots_busy = 5), "slots_busy is more"),
        (|a| change(a, 3, |b| b.worker.port = 1), "worker.port is `1`"),
        (|a| change(a, 3, |b| b.worker.pid = 1), "worker.pid is `1`"),
        (|a| change(a, 3, |b| b.worker.model_id = "big".into()), "model_id is `big`"),
        (|a| change(a, 3, |b| b.worker.backend = "cuda".into()), "backend is `cuda`, not `cpu`"),
        (|a| change(a, 3, |b| b.tokens_per_sec = f64::NAN), "no speed"),
        (|a| change(a, 3, |b| b.timestamp = "yesterday".into()), "timestamp"),
        (
            |a| change(a, 3, |b| b.timestamp = (jiff::Timestamp::now() - NEAR_TWICE).to_string()),
            "timestamp",
        ),
        (|a| change(a, 3, |b| b.rss_bytes = None), "rss_bytes"),
        (|a| a[1].at -= Duration::from_millis(1), ""),
    ];
    for (spoil, said) in cases {
        let (mut arrivals, now) = good();
        spoil(&mut arrivals);
        match judge(&arrivals, &expected(), now) {
            Ok(_) => assert!(said.is_empty(), "{said} was not seen"),
            Err(failure) => {
                assert_eq!(failure.code, ErrorCode::NoHeartbeat);
                assert!(!said.is_empty() && failure.message.contains(said), "{failure}: {said}");
            }
        }
    }
}

#[test]
fn a_long_gap_and_a_flood_are_wrong() {
    let (mut arrivals, now) = good();
    for arrival in &mut arrivals[3..] {
        arrival.at += Duration::from_millis(700);
    }
    let failure = judge(&arrivals, &expected(), now + Duration::from_millis(700));
    assert!(failure.expect_err("a gap").message.starts_with("950 ms passed"));
    let (mut arrivals, now) = good();
    let began = arrivals[1].at;
    arrivals.extend((6..60).map(|seq| Arrival { at: began, beat: Ok(beat(seq)), status: 200 }));
    arrivals[1..].iter_mut().for_each(|arrival| arrival.at = now);
    let failure = judge(&arrivals, &expected(), now).expect_err("a flood");
    assert!(failure.message.starts_with("59 beats in 0 ms"), "{failure}");
}

#[test]
fn after_a_restart_the_count_goes_on_without_what_was_lost() {
    let (arrivals, _) = good();
    let later = |seqs: &[u64]| -> Vec<Arrival> {
        let at = Instant::now();
        seqs.iter().map(|seq| Arrival { at, beat: Ok(beat(*seq)), status: 200 }).collect()
    };
    let resumed = |seqs: &[u64]| resumed(&arrivals, &later(seqs), &expected(), INTERVAL);
    resumed(&[8, 9]).expect("two were lost");
    resumed(&[7]).expect("one was lost");
    for (seqs, said) in [
        (&[][..], "no heartbeat came"),
        (&[3], "seq went back from 5 to 3"),
        (&[8, 10], "seq 10 where 9 must come"),
        (&[6], "what was lost was sent again"),
        (&[7, 8, 9, 10, 11], "those that were lost came too"),
    ] {
        let failure = resumed(seqs).expect_err(said);
        assert!(failure.message.contains(said), "{failure}, not {said}");
    }
}

#[test]
fn the_last_word_is_stopped() {
    let (mut arrivals, _) = good();
    assert!(last_words(&arrivals).expect_err("healthy").message.contains("says `healthy`"));
    arrivals[5].beat.as_mut().expect("readable").health_status = WorkerHealth::Stopped;
    last_words(&arrivals).expect("stopped");
    assert!(last_words(&[]).is_err());
}
