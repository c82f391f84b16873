//! The test bodies and the walls each of them is run behind.

mod advise;
mod applications;
mod bench;
mod build;
mod clones;
mod continuing;
mod crash;
mod data;
mod density;
mod examples;
mod exec;
mod host;
mod hostile_images;
mod hostile_kernels;
mod isolation;
mod lifecycle;
mod limits;
mod loads;
mod network;
mod pool;
mod registry;
mod reports;
mod resources;
mod scorecard;
mod snapshots;
mod stats;
mod terminal;
mod tree;
mod workload;

use crate::lab::{Lab, Wall};

/// One body and where it applies.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub walls: &'static [Wall],
    pub body: fn(&Lab, Wall),
}

const BOTH: &[Wall] = &[Wall::Container, Wall::MicroVm];
const CONTAINER: &[Wall] = &[Wall::Container];
const MICROVM: &[Wall] = &[Wall::MicroVm];
const QEMU: &[Wall] = &[Wall::QemuMicroVm];
const NEITHER: &[Wall] = &[Wall::Neither];

/// Makes the table readable: a case is named after its function.
macro_rules! cases {
    ($($walls:ident: $module:ident { $($function:ident),+ $(,)? })+) => {
        vec![$($(Case {
            name: stringify!($function),
            walls: $walls,
            body: $module::$function,
        },)+)+]
    };
}

/// Every case.
pub fn all() -> Vec<Case> {
    cases! {
        BOTH: workload {
            output_and_exit_code,
            commands_that_cannot_run,
            a_signal_gives_128_plus_n,
            process_settings_reach_the_workload,
            users_are_resolved_by_name,
            stdin_is_carried_through,
            a_mebibyte_comes_back_intact,
            init_reaps_orphans,
            forwarded_signals_reach_the_workload,
            timeout_kills,
            debian_runs,
        }
        BOTH: tree { the_tree_inside_is_the_image }
        MICROVM: tree { both_walls_show_the_same_tree }
        BOTH: isolation { nothing_of_the_host_is_visible, writes_are_gone_after_exit, a_read_only_root_refuses_writes }
        CONTAINER: isolation { privileges_are_dropped, system_calls_are_filtered }
        BOTH: scorecard { nothing_reaches_the_host }
        CONTAINER: scorecard {
            a_weakened_container_is_shown_weaker,
            privileges_are_given_and_taken,
            the_host_is_reached_without_a_wall,
        }
        MICROVM: scorecard { a_filter_is_for_containers }
        BOTH: limits { memory_limit_is_enforced_and_said, pids_limit_is_enforced }
        BOTH: crash { quick_runs_leave_nothing, killed_runs_are_collected, interrupts_leave_nothing }
        BOTH: pool {
            a_prepared_sandbox_is_used_once,
            runs_at_once_never_share_one,
            a_run_fills_the_pool_for_the_next,
            one_that_was_killed_is_passed_over,
            killed_fills_are_collected,
        }
        MICROVM: pool { prepared_machines_are_machines_of_their_own }
        MICROVM: density { freed_memory_is_given_back, a_mapped_root_takes_no_guest_memory }
        BOTH: data {
            what_is_written_to_a_volume_is_the_hosts,
            what_is_read_only_is_not_written,
            a_share_has_no_way_out,
            what_was_synced_survives_a_kill,
        }
        MICROVM: data { a_volume_is_the_same_on_either_wall, both_walls_append_at_once }
        CONTAINER: data { volumes_come_and_go, a_new_volume_begins_with_the_images_files }
        NEITHER: data { odd_mounts_are_refused }
        NEITHER: hostile_images {
            paths_that_leave_the_root_are_refused,
            a_whiteout_of_the_root_is_refused,
            damaged_archives_are_refused,
            wrong_digests_are_refused,
            a_decompression_bomb_is_refused,
        }
        MICROVM: hostile_kernels {
            a_kernel_that_is_none_is_refused,
            a_kernel_that_does_not_boot_is_reported,
            a_missing_disk_is_reported,
        }
        MICROVM: snapshots {
            clones_of_a_template_are_machines_of_their_own,
            unusable_snapshots_are_refused_with_the_reason,
            a_workload_goes_on_where_it_was_saved,
            a_machine_whose_memory_is_cut_off_ends_with_the_reason,
            a_snapshot_goes_elsewhere_and_comes_back,
            a_machine_keeps_the_memory_of_a_snapshot_that_is_removed,
        }
        BOTH: exec { a_running_sandbox_is_entered }
        BOTH: network {
            only_what_is_published_is_reached,
            the_way_out_is_open_and_the_host_is_not,
            sandboxes_find_each_other_by_name,
            killed_networks_are_collected,
            nothing_is_there_unless_asked_for,
        }
        CONTAINER: network {
            nobody_speaks_with_the_address_of_another,
            other_names_are_asked_elsewhere,
            many_at_once_get_addresses_of_their_own,
            a_killed_run_is_taken_off_its_network,
            whoever_answers_for_names_is_replaced,
            the_hosts_network_is_for_containers,
            networks_come_and_go,
            prepared_sandboxes_get_a_network_too,
        }
        MICROVM: network { the_hosts_network_is_for_containers }
        BOTH: lifecycle {
            a_sandbox_in_the_background_is_named_listed_and_removed,
            a_sandbox_is_made_started_and_started_again,
            what_cannot_run_is_said_and_leaves_nothing,
            a_run_in_the_foreground_is_listed_and_stopped,
            a_paused_sandbox_stands_still,
            its_processes_are_listed,
            stops_and_kills,
            a_killed_supervisor_leaves_nothing_that_gc_does_not_remove,
            logs_are_kept_bounded_and_followed,
            attached_streams_are_carried,
            input_is_carried_to_its_end,
            a_terminal_in_the_background_is_one,
            policies_start_again,
            health_is_checked_inside,
        }
        BOTH: terminal {
            a_shell_at_a_terminal_is_one,
            a_terminal_below_an_init_and_for_another_user,
            what_is_shown_needs_none,
        }
        CONTAINER: terminal { what_is_typed_needs_a_terminal }
        BOTH: resources {
            limits_of_the_process_are_seen_inside,
            processors_are_chosen_and_changed,
        }
        CONTAINER: resources { limits_change_while_it_runs }
        MICROVM: resources { what_a_machine_has_not_is_refused }
        BOTH: stats { a_running_sandbox_is_accounted_for }
        MICROVM: applications {
            an_application_goes_on_in_runs_like_its_own,
            arguments_and_environment_are_handed_over,
            a_port_or_a_command_says_that_an_application_is_ready,
            an_application_that_does_not_get_ready_is_not_kept,
        }
        BOTH: build { commands_change_the_image }
        MICROVM: build { both_walls_make_the_same_layers }
        CONTAINER: build {
            two_builds_are_the_same,
            scripts_users_and_shells_are_as_asked,
            killed_builds_are_collected,
            an_interrupted_build_leaves_nothing,
            a_rebuild_does_nothing_again,
        }
        CONTAINER: registry { what_is_not_here_is_pulled }
        BOTH: registry { what_is_pushed_and_pulled_runs_and_is_the_same }
        NEITHER: registry {
            others_read_what_we_write,
            we_read_what_others_write,
            a_login_is_checked_kept_and_forgotten,
            archives_go_from_store_to_store,
        }
        MICROVM: clones {
            runs_in_a_row_are_right_and_leave_nothing,
            clones_at_once_are_right_and_leave_nothing,
            files_and_clocks_are_right_where_a_copy_goes_on,
        }
        NEITHER: host {
            doctor_says_what_is_here,
            help_and_completions_exist,
            images_come_and_go,
            a_reader_that_goes_away_is_no_failure,
        }
        CONTAINER: advise {
            hostile_code_gets_a_microvm,
            needs_come_from_a_file_and_flags_go_first,
            a_run_takes_the_advised_wall,
            a_workload_is_observed,
        }
        MICROVM: advise { a_hostile_run_gets_a_kernel_of_its_own }
        MICROVM: bench { the_host_is_profiled }
        BOTH: loads { further_workloads_give_figures }
        QEMU: loads { a_command_does_the_same_in_another_monitor }
        MICROVM: loads {
            warm_starts_are_measured_beside_cold_ones,
            a_command_does_the_same_behind_both_walls,
        }
        CONTAINER: loads {
            a_command_that_does_not_is_a_failure,
            a_command_that_cannot_run_is_said,
        }
        MICROVM: examples { a_service_and_its_store_change_walls }
        NEITHER: bench { a_report_is_rendered_again, a_damaged_results_file_is_refused }
        NEITHER: continuing { an_interrupted_run_is_resumed, a_full_disk_costs_no_sample }
        NEITHER: reports { reports_come_in_every_format, a_regression_has_an_exit_code_of_its_own, lists_are_json_too }
    }
}
