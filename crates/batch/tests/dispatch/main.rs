//! What batches' options make of the dispatcher: when it begins calls, and when not.

mod outage;
mod rig;

use dialtone_contract::wire::{BatchOptions, BreakerRule, CallWindow, RetryRule};
use dialtone_contract::{BatchState, EntryState, Outcome, TenantId};
use dialtone_store::{BatchStore as _, Directory as _, Suppressions as _};

use self::rig::{Rig, START, at, s};

fn window(tz: &str, start: &str, end: &str) -> CallWindow {
    let json = serde_json::json!({"tz": tz, "start": start, "end": end});
    serde_json::from_value(json).expect("a window")
}

#[tokio::test]
async fn calls_begin_at_the_pace_and_no_faster() {
    let mut rig = Rig::new().await;
    let options = BatchOptions {
        calls_per_second: Some(2.0),
        ramp_s: 20,
        max_concurrent: 1_000,
        ..BatchOptions::default()
    };
    let id = rig.many("a", "paced", options, 200).await;
    rig.run(at(START) + s(120)).await;
    let begun = rig.begun_s(&id);
    assert_eq!(begun.len(), 200);
    let within = |from: f64, to: f64| begun.iter().filter(|at| (from..to).contains(at)).count();
    // The ramp earns 20 calls in its 20 s, a quarter of them in its first half.
    assert!((4..=7).contains(&within(0.0, 10.0)), "{:?}", &begun[..20]);
    assert!((14..=17).contains(&within(10.0, 20.0)), "{:?}", &begun[..30]);
    assert!((118..=122).contains(&within(20.0, 80.0)), "{}", within(20.0, 80.0));
    for pair in begun.windows(3).filter(|three| three[0] > 20.0) {
        assert!(pair[2] - pair[0] > 0.9, "three calls within {pair:?}");
    }
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
}

#[tokio::test]
async fn nothing_begins_while_the_window_is_closed_and_nothing_is_done_about_it() {
    let mut rig = Rig::new().await;
    rig.lasts = s(20);
    // 09:00 to 10:00 in Berlin is 08:00 to 09:00 UTC; the batch comes at its start, and of
    // its 200 calls of twenty seconds, one by one, not all fit in.
    let options = BatchOptions {
        window: Some(window("Europe/Berlin", "09:00", "10:00")),
        max_concurrent: 1,
        ..BatchOptions::default()
    };
    let id = rig.many("a", "windowed", options, 200).await;
    rig.run(at("2027-01-15T09:01:00Z")).await;
    let before = rig.row("a", &id).await;
    assert_eq!(before.count(EntryState::is_in_flight), 0);
    let left = before.count(EntryState::is_waiting);
    assert_eq!(left, 20);
    let looks = rig.looks;
    rig.run(at("2027-01-16T07:59:59Z")).await;
    assert_eq!(rig.row("a", &id).await.event_seq, before.event_seq, "something moved at night");
    assert!(rig.looks - looks < 2_000, "{} looks in a night", rig.looks - looks);
    rig.run(at("2027-01-16T12:00:00Z")).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
    let morning = rig.begun.iter().find(|begun| begun.at > at("2027-01-15T09:01:00Z"));
    assert_eq!(morning.expect("it goes on").at, at("2027-01-16T08:00:00Z"));
}

#[tokio::test]
async fn many_entries_rest_while_their_windows_are_closed() {
    const ENTRIES: u32 = 20_000;
    let numbers: Vec<_> = (0..ENTRIES).map(|n| format!("+49303{n:07}")).collect();
    let to: Vec<_> = numbers.iter().map(|to| (&**to, Some("Europe/Berlin"))).collect();
    for (tz, put_off) in [("Europe/Berlin", 0), ("recipient", ENTRIES - 2)] {
        let mut rig = Rig::new().await;
        rig.lasts = s(30);
        let options = BatchOptions {
            window: Some(window(tz, "09:00", "09:01")),
            max_concurrent: 1,
            ..BatchOptions::default()
        };
        let id = rig.batch("a", "resting", options, &to).await;
        // Two calls fit into the minute; the others come upon a closed window.
        rig.run(at("2027-01-15T08:02:00Z")).await;
        let before = rig.row("a", &id).await;
        assert_eq!(before.count(EntryState::is_waiting), ENTRIES - 2);
        let events = rig.store.events(&TenantId::new("a"), &id, 0, 100_000).await.expect("read");
        let deferred = events.iter().filter(|event| event.kind == "entry.deferred").count();
        assert_eq!(deferred, put_off as usize, "{tz}: each is put off once at most");
        assert!(rig.looks < 100, "{tz}: {} looks at the closing of the window", rig.looks);
        let looks = rig.looks;
        rig.run(at("2027-01-16T07:59:59Z")).await;
        assert_eq!(rig.row("a", &id).await.event_seq, before.event_seq, "{tz}: something moved");
        assert!(rig.looks - looks < 2_000, "{tz}: {} looks in a night", rig.looks - looks);
    }
}

#[tokio::test]
async fn each_recipient_is_called_in_a_window_of_his_own() {
    let mut rig = Rig::new().await;
    rig.lasts = s(20);
    let zones = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"];
    let numbers: Vec<_> = (0..200).map(|n| format!("+49302222{n:04}")).collect();
    let to: Vec<_> =
        numbers.iter().zip(zones.iter().cycle()).map(|(to, zone)| (&**to, Some(*zone))).collect();
    // One by one, so that windows close before all have been called.
    let options = BatchOptions {
        window: Some(window("recipient", "09:00", "09:10")),
        max_concurrent: 1,
        ..BatchOptions::default()
    };
    let id = rig.batch("a", "zones", options, &to).await;
    rig.run(at(START) + s(14 * 24 * 3600)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
    let window = window("recipient", "09:00", "09:10");
    for begun in &rig.begun {
        let zone = begun.entry.timezone.as_deref();
        let opening = dialtone_batch::policy::schedule::opening_for(&window, zone, begun.at);
        assert!(opening.is_open(), "{} at {} in {zone:?}", begun.entry.key.seq, begun.at);
    }
    let events = rig.store.events(&TenantId::new("a"), &id, 0, 100_000).await.expect("read");
    let deferred = events.iter().filter(|event| event.kind == "entry.deferred").count();
    // Thirty calls fit into a window: of the fifty of each zone twenty wait for the next.
    assert_eq!(deferred, 80);
}

#[tokio::test]
async fn a_suppressed_number_is_not_called_even_if_it_is_suppressed_late() {
    let mut rig = Rig::new().await;
    let options = BatchOptions { max_concurrent: 1, ..BatchOptions::default() };
    let id = rig.many("a", "suppressed", options, 4).await;
    let tenant = TenantId::new("a");
    let third = rig.entry("a", &id, 3).await;
    rig.run(at(START) + s(5)).await;
    rig.store.suppress(&tenant, &[third.number], "opt_out", rig.now()).await.expect("kept");
    rig.run(at(START) + s(120)).await;
    let entry = rig.entry("a", &id, 3).await;
    assert_eq!((entry.state, entry.outcome), (EntryState::Failed, Some(Outcome::Suppressed)));
    assert_eq!(rig.begun_s(&id), [0.0, 10.0, 20.0]);
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
}

#[tokio::test]
async fn a_number_is_called_once_at_a_time_and_left_alone_for_the_gap() {
    let mut rig = Rig::new().await;
    let options = BatchOptions { min_gap_s: 300, ..BatchOptions::default() };
    let first = rig.batch("a", "first", options.clone(), &[("+4930111", None)]).await;
    let second = rig.batch("a", "second", options.clone(), &[("+4930111", None)]).await;
    // Another tenant's calls are its own.
    let other = rig.batch("b", "other", options, &[("+4930111", None)]).await;
    rig.run(at(START) + s(3600)).await;
    let both = [rig.begun_s(&first), rig.begun_s(&second)].concat();
    assert_eq!(both.len(), 2);
    assert!((310.0..316.0).contains(&(both[0] - both[1]).abs()), "{both:?}");
    assert_eq!(rig.begun_s(&other), [0.0]);
}

#[tokio::test]
async fn a_twin_waits_for_the_other_call_and_says_so_once() {
    let mut rig = Rig::new().await;
    rig.lasts = s(20);
    let twice = [("+4930111", None), ("+4930111", None)];
    let id = rig.batch("a", "twins", BatchOptions::default(), &twice).await;
    rig.run(at(START) + s(12)).await;
    assert_eq!(rig.begun_s(&id), [0.0]);
    let held = rig.held("a", &id, 2).await;
    let held: Vec<_> = held.iter().map(|(code, why)| (code.as_str(), why.as_str())).collect();
    let why = format!(
        "another live call to this number is under way: {}",
        rig.entry("a", &id, 1).await.key.entry_id()
    );
    assert_eq!(held.last(), Some(&("number_busy", why.as_str())), "{held:?}");
    rig.run(at(START) + s(300)).await;
    let begun = rig.begun_s(&id);
    assert!((20.0..26.0).contains(&begun[1]), "{begun:?}");
    let events = rig.store.events(&TenantId::new("a"), &id, 0, 1_000).await.expect("read");
    let deferred = events.iter().filter(|event| event.kind.starts_with("entry.deferred")).count();
    assert_eq!(deferred, 1, "it is put off every five seconds, and that is said once");
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
}

#[tokio::test]
async fn what_holds_an_entry_up_beside_others_is_named() {
    let mut rig = Rig::new().await;
    rig.store.seed_demo().await.expect("seeded");
    let demo = TenantId::new("demo");
    let first = rig.many("demo", "first", BatchOptions::default(), 30).await;
    let second = rig.many("demo", "second", BatchOptions::default(), 30).await;
    let codes = |held: Vec<(String, String)>| -> Vec<String> {
        held.into_iter().map(|(code, _)| code).collect()
    };
    assert_eq!(codes(rig.held("demo", &first, 30).await), ["fair_share"]);
    assert!(rig.store.set_max_concurrent(&demo, Some(4)).await.expect("kept"));
    rig.look().await;
    assert_eq!(rig.begun.len(), 4);
    let held = rig.held("demo", &second, 30).await;
    assert_eq!(
        held,
        [(
            "tenant_concurrency_full".to_owned(),
            "4 of 4 calls of the tenant are in flight".to_owned()
        )]
    );
}

#[tokio::test]
async fn numbers_that_may_be_called_again_are_forgotten() {
    let mut rig = Rig::new().await;
    let options = BatchOptions { min_gap_s: 300, ..BatchOptions::default() };
    let id = rig.many("a", "gapped", options, 600).await;
    rig.run(at(START) + s(1_000)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
    let housekeeping = rig.housekeeping();
    assert_eq!(housekeeping.tick().await.expect("done"), 600);
    assert_eq!(housekeeping.tick().await.expect("done"), 0);
}

#[tokio::test]
async fn retries_wait_as_their_rule_says_and_for_the_gap() {
    let mut rig = Rig::new().await;
    rig.ends = |_| Some(Outcome::Busy);
    let rule = RetryRule { max: None, base_s: 60, factor: 3.0, cap_s: 100, jitter: 0.0 };
    let options = BatchOptions {
        retry: [(Outcome::Busy, rule)].into(),
        max_retries: 3,
        ..BatchOptions::default()
    };
    let plain = rig.batch("a", "plain", options.clone(), &[("+4930111", None)]).await;
    let gap = BatchOptions { min_gap_s: 80, ..options };
    let gapped = rig.batch("a", "gapped", gap, &[("+4930222", None)]).await;
    rig.run(at(START) + s(3600)).await;
    // Each call lasts ten seconds; the waits are 60, 100 and 100.
    assert_eq!(rig.begun_s(&plain), [0.0, 70.0, 180.0, 290.0]);
    assert_eq!(rig.begun_s(&gapped), [0.0, 90.0, 200.0, 310.0]);
    let entry = rig.entry("a", &plain, 1).await;
    assert_eq!((entry.state, entry.outcome), (EntryState::Failed, Some(Outcome::Busy)));
}

#[tokio::test]
async fn waves_begin_together_and_wait_for_each_other() {
    let mut rig = Rig::new().await;
    rig.lasts = s(12);
    let options = BatchOptions { wave_size: 20, poll_s: 5, ..BatchOptions::default() };
    let id = rig.many("a", "waves", options, 50).await;
    rig.run(at(START) + s(600)).await;
    let begun = rig.begun_s(&id);
    let expected = [[0.0; 20].as_slice(), &[15.0; 20], &[30.0; 10]].concat();
    assert_eq!(begun, expected, "a wave of 12 s is noticed at the third look");
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
}

#[tokio::test]
async fn tenants_share_evenly_however_many_batches_they_have() {
    let mut rig = Rig::new().await;
    // Each round sixteen calls can begin, and every batch could take all of them. One
    // tenant has nine batches, the other one.
    let options = BatchOptions { max_concurrent: 10_000, ..BatchOptions::default() };
    let mut many = Vec::new();
    for n in 0..9 {
        many.push(rig.many("many", &format!("b{n}"), options.clone(), 400).await);
    }
    let lone = rig.many("one", "lone", options, 2_000).await;
    for _ in 0..180 {
        rig.round().await;
    }
    assert_eq!(rig.begun_s(&lone).len(), 90 * 16);
    let each: Vec<_> = many.iter().map(|id| rig.begun_s(id).len()).collect();
    assert_eq!(each, [160; 9]);
}

#[tokio::test]
async fn a_small_batch_need_not_wait_for_hundreds_of_large_ones() {
    let mut rig = Rig::new().await;
    let options = BatchOptions { max_concurrent: 10_000, ..BatchOptions::default() };
    let mut large = Vec::new();
    for n in 0..300 {
        large.push(rig.many("a", &format!("large{n}"), options.clone(), 100).await);
    }
    for _ in 0..25 {
        rig.round().await;
    }
    let small = rig.many("a", "small", options, 10).await;
    rig.round().await;
    assert!(!rig.begun_s(&small).is_empty(), "it is not in the next look");
    // From then on it has its turn as the others have theirs, sixteen of them in each look.
    for _ in 0..19 * 9 {
        rig.round().await;
    }
    assert_eq!(rig.begun_s(&small).len(), 10);
    let each: Vec<_> = large.iter().map(|id| rig.begun_s(id).len()).collect();
    let (least, most) = (each.iter().min().copied(), each.iter().max().copied());
    assert!(most <= least.map(|least| least + 1), "{each:?}");
}

#[tokio::test]
async fn more_batches_than_one_read_gives_all_have_their_turn() {
    let mut rig = Rig::new().await;
    let n = dialtone_contract::limits::BATCHES_MAX + 100;
    let mut all = Vec::new();
    for n in 0..n {
        all.push(rig.many("a", &format!("b{n:05}"), BatchOptions::default(), 1).await);
    }
    let mut looks = 0;
    while rig.begun.len() < all.len() {
        assert!(rig.round().await > 0, "nothing is begun");
        looks += 1;
    }
    assert!(looks <= n.div_ceil(16) + 2, "{looks} looks");
}

#[tokio::test]
async fn the_calls_of_a_tenant_are_bounded_over_all_its_batches() {
    let mut rig = Rig::new().await;
    rig.store.seed_demo().await.expect("seeded");
    let demo = TenantId::new("demo");
    assert!(rig.store.set_max_concurrent(&demo, Some(7)).await.expect("kept"));
    for name in ["x", "y", "z"] {
        rig.many("demo", name, BatchOptions::default(), 30).await;
    }
    for second in 0..60 {
        rig.run(at(START) + s(second)).await;
        let mut in_flight = 0;
        for name in ["x", "y", "z"] {
            let id = dialtone_contract::BatchId::from_token(name);
            in_flight += rig.row("demo", &id).await.count(EntryState::is_in_flight);
        }
        assert!(in_flight <= 7, "{in_flight} calls after {second} s");
    }
    // Ten seconds each, seven at a time.
    assert_eq!(rig.begun.len(), 42);
    for name in ["x", "y", "z"] {
        let begun = rig.begun_s(&dialtone_contract::BatchId::from_token(name)).len();
        assert!((12..=16).contains(&begun), "{name} began {begun} calls");
    }
}

fn broken(resume_after_s: u32) -> BatchOptions {
    let breaker =
        BreakerRule { min_attempts: 4, window_s: 600, resume_after_s, ..BreakerRule::default() };
    BatchOptions { max_concurrent: 4, breaker: Some(breaker), ..BatchOptions::default() }
}

#[tokio::test]
async fn a_batch_pauses_when_its_breaker_trips_and_resumes_by_itself() {
    let mut rig = Rig::new().await;
    // Nobody claims the dial: every attempt times out.
    rig.ends = |_| None;
    let options = BatchOptions { max_retries: 1, ..broken(900) };
    let id = rig.many("a", "broken", options, 12).await;
    rig.run(at(START) + s(60)).await;
    let row = rig.row("a", &id).await;
    assert_eq!(row.state, BatchState::Paused);
    let reason = row.reason.expect("it says why");
    assert!(reason.starts_with("breaker: 4 of 4 attempts failed within 600 s: call_"), "{reason}");
    assert_eq!(reason.matches("timeout_unclaimed").count(), 4, "{reason}");
    rig.run(at(START) + s(900)).await;
    assert_eq!(rig.begun.len(), 4, "a paused batch begins nothing");
    // Paused half a minute after the start, and resumed a quarter of an hour later.
    rig.ends = |_| Some(Outcome::Completed);
    rig.run(at(START) + s(1800)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
    let fifth = rig.begun_s(&id)[4];
    assert!((929.0..933.0).contains(&fifth), "resumed after {fifth} s");
    assert_eq!(rig.count("a", &id, EntryState::Completed).await, 12);
}

#[tokio::test]
async fn a_users_pause_outlasts_the_breakers() {
    let mut rig = Rig::new().await;
    rig.ends = |_| None;
    let id = rig.many("a", "broken", broken(900), 12).await;
    let tenant = TenantId::new("a");
    rig.run(at(START) + s(60)).await;
    assert!(rig.row("a", &id).await.reason.expect("a reason").starts_with("breaker: "));
    for applied in [true, false] {
        let paused = rig.control().pause(&tenant, &id).await.expect("it is paused");
        assert_eq!((paused.state, paused.applied), (BatchState::Paused, applied));
        let reason = rig.row("a", &id).await.reason;
        assert_eq!(reason.as_deref(), Some("paused by a user"));
    }
    rig.run(at(START) + s(7200)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Paused);
    assert_eq!(rig.begun.len(), 4);
    rig.ends = |_| Some(Outcome::Completed);
    assert!(rig.control().resume(&tenant, &id).await.expect("it is paused").applied);
    rig.run(at(START) + s(9000)).await;
    assert_eq!(rig.count("a", &id, EntryState::Completed).await, 12);
}

#[tokio::test]
async fn a_users_resume_is_not_undone_on_old_evidence() {
    let mut rig = Rig::new().await;
    rig.ends = |_| None;
    let id = rig.many("a", "broken", broken(0), 12).await;
    let tenant = TenantId::new("a");
    rig.run(at(START) + s(60)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Paused);
    rig.ends = |_| Some(Outcome::Completed);
    assert!(rig.control().resume(&tenant, &id).await.expect("it is paused").applied);
    rig.run(at(START) + s(600)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
    let events = rig.store.events(&tenant, &id, 0, 100_000).await.expect("read");
    let pauses = events.iter().filter(|event| event.to == BatchState::Paused.as_str()).count();
    assert_eq!(pauses, 1);
}

#[tokio::test]
async fn a_batch_whose_callees_do_not_answer_goes_on() {
    let mut rig = Rig::new().await;
    rig.ends = |_| Some(Outcome::NoAnswer);
    let breaker = BreakerRule { min_attempts: 4, ..BreakerRule::default() };
    let options = BatchOptions { breaker: Some(breaker), ..BatchOptions::default() };
    let id = rig.many("a", "unanswered", options, 60).await;
    rig.run(at(START) + s(600)).await;
    assert_eq!(rig.row("a", &id).await.state, BatchState::Completed);
}
