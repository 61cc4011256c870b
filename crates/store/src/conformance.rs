//! The conformance suite of the store ports: what every engine must do, stated as cases
//! that any engine can be handed to.
//!
//! An engine's tests say `dialtone_store::conformance_suite!(make)`, where `make` is an
//! async function that gives an empty store and whatever must outlive it. Each case
//! becomes one test. Cases panic where the engine is wrong; they need a Tokio runtime.

mod access;
mod apply;
mod batches;
mod claims;
mod differential;
mod fixture;
mod held;
mod idempotency;
mod intake;
mod isolation;
mod lists;
mod misc;
mod orders;
mod outbox;
mod selectors;
mod stream;
mod transitions;
mod uploads;
mod webhooks;

use std::pin::Pin;
use std::sync::Arc;

use crate::Store;

pub use access::access;
pub use differential::{Walk, compare};

/// One case, over an empty store.
pub type Case = fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// What makes an empty store: it, with whatever must outlive it; or nothing, said aloud, where
/// the machine lacks what the engine needs.
pub trait Made {
    /// What must outlive the store.
    type Guard;
    /// The store.
    fn made(self) -> Option<(Arc<dyn Store>, Self::Guard)>;
}

impl<G> Made for (Arc<dyn Store>, G) {
    type Guard = G;
    fn made(self) -> Option<(Arc<dyn Store>, G)> {
        Some(self)
    }
}

impl<G> Made for Option<(Arc<dyn Store>, G)> {
    type Guard = G;
    fn made(self) -> Option<(Arc<dyn Store>, G)> {
        self
    }
}

macro_rules! cases {
    ($d:tt $($module:ident::$name:ident)+) => {
        /// Every case with its name.
        pub const CASES: &[(&str, Case)] = &[
            $((stringify!($name), |store| Box::pin($module::$name(store))),)+
        ];

        /// Expands to one Tokio test per case. The argument is an async function without
        /// parameters that gives `(Arc<dyn Store>, guard)`, or an `Option` of that.
        #[macro_export]
        macro_rules! conformance_suite {
            ($d make:path) => {
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                    async fn $name() {
                        let made = $crate::conformance::Made::made($d make().await);
                        // None where there is nothing to test on; it has said so.
                        let Some((store, _guard)) = made else { return };
                        $crate::conformance::run(stringify!($name), store).await;
                    }
                )+
            };
        }
    };
}

cases! { $
    transitions::every_transition_is_made_exactly_where_it_is_expected
    transitions::a_stale_change_leaves_no_trace
    transitions::a_lease_epoch_fences
    transitions::a_deadline_fences
    transitions::an_attempt_is_given_back
    transitions::the_call_log_keeps_what_a_patch_does_not_name
    apply::answers_come_in_order
    apply::one_of_many_racing_changes_wins
    apply::a_batch_moves_only_from_where_it_is
    apply::a_batch_that_moved_away_and_back_has_moved
    apply::times_of_a_batch_are_set_once
    apply::commits_are_announced
    claims::claims_take_the_earliest_first
    claims::claims_begin_attempts
    claims::claims_keep_to_the_calls_at_once
    claims::claims_need_a_claimable_batch
    claims::nothing_is_claimed_twice
    claims::a_retried_entry_is_claimed_when_its_time_comes
    held::a_suppressed_number_is_not_leased
    held::a_number_is_called_once_at_a_time
    held::the_use_of_a_number_is_told_and_forgotten
    held::only_its_holder_lets_go_of_a_number
    held::entries_of_closed_zones_are_held
    held::a_claim_looks_beyond_what_is_held
    held::a_wave_waits_for_the_one_before
    held::claims_keep_to_the_pace
    held::claims_keep_to_the_tenants_calls_at_once
    orders::a_change_may_need_a_state_of_the_batch
    orders::limits_and_cancels_stay_with_the_batch
    orders::waiting_and_under_way_are_told_apart
    orders::a_tenants_bound_is_kept
    orders::lanes_are_handed_out_apart
    intake::a_loading_batch_is_invisible
    intake::an_entry_that_is_there_stays
    intake::entries_are_added_only_while_loading
    intake::a_batch_is_created_once
    intake::only_a_loading_batch_is_discarded
    uploads::rejects_are_kept_in_order_and_counted
    uploads::rejects_go_with_a_discarded_batch
    uploads::old_keys_are_forgotten
    uploads::suppressed_numbers_are_listed_in_pages
    idempotency::a_key_answers_with_its_first_batch
    idempotency::one_of_many_racing_accepts_wins
    idempotency::a_failed_accept_takes_no_key
    batches::lists_are_in_order
    batches::due_batches_are_those_with_a_due_entry
    batches::figures_are_of_one_moment
    stream::events_fold_to_the_figures
    stream::heartbeats_are_not_recorded
    stream::events_are_read_in_pages
    stream::an_entrys_events_are_read_in_ranges
    stream::a_batchs_events_say_why
    lists::batches_are_found_by_state_and_place
    lists::entries_are_found_by_state_and_outcome
    webhooks::webhooks_are_the_tenants_own
    webhooks::a_batchs_items_are_in_the_commit_of_its_change
    selectors::entries_are_read_in_pages
    selectors::a_call_is_found_by_its_attempt
    selectors::deadlines_come_in_order
    selectors::the_next_due_time_is_the_earliest_ahead
    outbox::items_are_in_the_commit_of_their_change
    outbox::items_are_handed_out_until_done
    isolation::another_tenant_sees_nothing
    isolation::another_tenant_changes_nothing
    misc::a_report_is_written_once
    misc::epochs_rise
    misc::the_demo_tenant_is_seeded_once
    differential::a_random_walk_agrees_with_memory
}

/// Runs the case called `name`.
///
/// # Panics
/// If there is none, or if the engine fails it.
pub async fn run(name: &str, store: Arc<dyn Store>) {
    let case = CASES.iter().find(|(known, _)| *known == name).expect("a case of this name");
    case.1(store).await;
}
