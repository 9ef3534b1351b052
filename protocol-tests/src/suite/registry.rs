//! The one list of scenarios.

use super::{Awaits, Needs, Scenario, State};
use crate::scenarios::{
    admin, churn, companions, consumer, elsewhere, fetching, groups, producer, recreated, refusals, services,
    share, transactions, transactions_of_groups, versions,
};

/// A scenario that is there: its number, the function, what it needs.
macro_rules! ready {
    ($number:expr, $module:ident::$name:ident, $needs:expr) => {
        Scenario {
            number: $number,
            name: stringify!($name),
            needs: $needs,
            state: State::Ready(|stage| Box::pin($module::$name(stage))),
        }
    };
}

/// A scenario that waits for something.
macro_rules! pending {
    ($number:literal, $name:literal, $awaits:ident) => {
        Scenario {
            number: Some($number),
            name: $name,
            needs: Needs::NOTHING,
            state: State::Pending(Awaits::$awaits),
        }
    };
}

const ANY: Needs = Needs::NOTHING;
const THREE: Needs = Needs::THREE_NODES;

/// All of them: the forty in their order, then what was added.
pub const SCENARIOS: &[Scenario] = &[
    // The producer.
    ready!(Some(1), producer::s01_order_is_kept_while_leaders_move, THREE),
    ready!(Some(1), producer::s01_the_first_batches_keep_their_order_though_the_first_is_refused, ANY),
    ready!(Some(2), producer::s02_records_are_written_once_when_answers_are_lost, ANY),
    ready!(Some(3), producer::s03_a_frozen_broker_costs_only_what_was_overdue, ANY.pauses()),
    ready!(Some(4), producer::s04_an_out_of_order_sequence_is_recovered_from, ANY.faults()),
    ready!(Some(5), producer::s05_five_batches_sent_again_keep_their_offsets, ANY),
    ready!(Some(6), refusals::s06_a_batch_too_large_for_its_topic_is_split, ANY),
    ready!(Some(7), refusals::s07_a_record_too_large_fails_alone, ANY),
    ready!(Some(7), refusals::s07_only_the_records_that_are_named_fail, ANY),
    ready!(Some(8), producer::s08_keys_go_where_java_sends_them, ANY),
    ready!(Some(9), producer::s09_every_codec_round_trips, ANY),
    ready!(Some(10), producer::s10_acknowledgements_say_what_they_know, ANY),
    ready!(Some(10), producer::s10_all_replicas_means_all_that_are_wanted, THREE.kills()),
    ready!(Some(11), producer::s11_flush_and_close_settle_everything, ANY),
    ready!(Some(12), producer::s12_a_frozen_broker_pushes_back, ANY.pauses()),
    ready!(Some(13), producer::s13_an_unknown_topic_is_an_error_and_stays_unknown, ANY),
    ready!(Some(14), producer::s14_a_throttled_producer_waits_and_loses_nothing, ANY),
    ready!(Some(14), producer::s14_nothing_is_sent_while_throttled, ANY),
    ready!(Some(15), producer::s15_headers_nulls_and_timestamps_round_trip, ANY),
    // Transactions.
    ready!(Some(16), transactions::s16_aborted_records_and_markers_are_never_seen, ANY),
    ready!(Some(17), transactions::s17_an_open_transaction_holds_back_its_partition_alone, ANY),
    ready!(Some(18), transactions::s18_an_empty_transaction_commits, ANY),
    ready!(Some(19), transactions::s19_a_second_instance_fences_the_first, ANY),
    ready!(
        Some(20),
        transactions_of_groups::s20_consume_transform_produce_is_exactly_once_under_kills,
        THREE.kills()
    ),
    ready!(Some(21), transactions::s21_a_transaction_that_timed_out_can_be_followed_by_another, ANY),
    ready!(Some(22), transactions::s22_ends_of_transactions_are_certain_though_answers_are_lost, ANY),
    ready!(Some(22), transactions::s22_the_coordinator_moves_during_the_end_of_a_transaction, THREE.kills()),
    ready!(Some(23), transactions_of_groups::s23_offsets_in_a_transaction_are_fenced_by_the_generation, ANY),
    ready!(Some(24), transactions::s24_both_versions_of_transactions_are_spoken, ANY),
    ready!(Some(25), transactions::s25_interleaved_transactions_read_from_any_offset, ANY),
    // The consumer.
    ready!(Some(26), consumer::s26_a_compacted_topic_is_read_to_its_end, ANY),
    ready!(Some(27), consumer::s27_reading_starts_where_it_is_told_to, ANY),
    ready!(Some(28), consumer::s28_deleted_records_are_passed_as_was_said, ANY),
    ready!(Some(29), fetching::s29_an_unclean_truncation_is_noticed, THREE.kills().pauses()),
    ready!(Some(30), fetching::s30_the_nearest_replica_is_read_and_its_loss_survived, THREE.kills()),
    ready!(Some(31), fetching::s31_fetch_sessions_are_evicted_unnoticed, ANY),
    ready!(Some(32), recreated::s32_a_topic_created_anew_is_not_taken_for_the_old_one, ANY),
    ready!(Some(33), consumer::s33_a_corrupt_batch_stops_its_partition_alone, ANY),
    ready!(Some(34), consumer::s34_a_record_larger_than_a_fetch_is_delivered, ANY),
    ready!(Some(35), consumer::s35_pause_and_resume_lose_and_repeat_nothing, ANY),
    // Groups, classic and eager.
    ready!(Some(36), groups::s36_members_come_and_go_and_every_record_is_processed, ANY),
    ready!(Some(36), groups::s36_members_of_a_cooperative_group_come_and_go, ANY),
    ready!(Some(36), groups::s36_members_of_the_consumer_protocol_come_and_go, ANY),
    ready!(Some(36), churn::s36_members_of_each_protocol_come_and_go_for_a_minute, THREE),
    ready!(Some(37), groups::s37_a_static_member_comes_back_unnoticed_and_a_double_fences, ANY),
    ready!(Some(37), groups::s37_a_static_double_is_refused_by_the_consumer_protocol, ANY),
    ready!(Some(38), groups::s38_a_member_that_works_too_long_loses_its_share_and_comes_back, ANY),
    ready!(Some(38), groups::s38_a_member_of_the_consumer_protocol_that_works_too_long_comes_back, ANY),
    ready!(
        Some(39),
        groups::s39_the_coordinator_moves_and_members_of_the_consumer_protocol_follow,
        THREE.kills()
    ),
    ready!(Some(39), groups::s39_the_coordinator_moves_and_commits_follow, THREE.kills()),
    ready!(Some(39), churn::s39_a_group_migrates_between_the_protocols, ANY.migrates()),
    ready!(Some(40), groups::s40_nodes_restart_one_by_one_and_nobody_notices, THREE.kills()),
    ready!(Some(40), elsewhere::s40_all_nodes_come_back_on_other_ports, THREE.kills()),
    pending!(40, "s40_sasl_reauthentication_under_load", Later),
    ready!(None, consumer::logs_tell_their_offsets, ANY),
    ready!(None, consumer::nothing_of_partitions_that_are_added_is_missed, ANY),
    ready!(None, consumer::topics_are_read_whose_names_match, ANY),
    ready!(None, consumer::topics_are_read_that_the_coordinator_matches, ANY),
    ready!(None, consumer::a_compressed_backlog_is_fetched_once, ANY),
    ready!(None, groups::members_agree_on_an_assignor, ANY),
    ready!(None, groups::acknowledged_work_goes_over_to_others_once, ANY),
    ready!(None, groups::members_get_what_is_near_them, THREE),
    ready!(None, companions::companions_are_committed_under_their_group, ANY),
    // Share groups.
    ready!(None, share::members_of_a_share_group_say_what_becomes_of_records, ANY),
    ready!(None, share::members_of_a_share_group_read_one_partition_side_by_side, ANY),
    // Services.
    ready!(None, services::a_service_keeps_the_order_of_keys_through_retries_and_rebalances, ANY),
    ready!(None, services::a_record_that_does_not_parse_stops_its_partition_alone, ANY),
    ready!(None, services::what_always_fails_is_dead_lettered_once_and_redrives, ANY),
    ready!(None, services::a_service_that_stops_under_load_loses_and_dead_letters_nothing, ANY),
    ready!(None, services::a_table_is_ready_when_it_has_caught_up_and_serves_what_was_written, ANY),
    ready!(None, services::a_duplicate_event_is_handled_once, ANY),
    // The cluster as an administrator sees it.
    ready!(None, admin::a_cluster_is_described, ANY),
    ready!(None, admin::a_topic_is_created_described_and_deleted, ANY),
    ready!(None, admin::a_topic_is_placed_on_the_nodes_that_are_named, THREE),
    ready!(None, admin::each_topic_is_refused_for_its_own_reason, ANY),
    ready!(None, admin::a_validation_creates_nothing, ANY),
    // What differs between versions.
    ready!(None, versions::the_offered_versions_are_those_of_the_release, ANY),
    ready!(None, versions::the_finalized_features_are_those_of_the_release, ANY),
];
