//! The rows: what the guide does, and the tests of what ours does.

use crate::{CHECK, CLUSTER, HEALTH, NODE, PINGS, REMOTE, SERVICES, STOPPED};

const SEED: &str = "e2e/tests/seed_rows.rs";
const UNITS: &str = "e2e/tests/units.rs";
const LOAD: &str = "e2e/tests/units_under_load.rs";
const SOCKETS: &str = "e2e/tests/units_sockets.rs";
const KEYS: &str = "e2e/tests/units_keys.rs";
const INSTALL: &str = "e2e/tests/install.rs";
const BOOK: &str = "e2e/tests/book_walkthrough.rs";
const REFUSALS: &str = "crates/tunnel/tests/real_sshd/refusals.rs";
const UNDER_LOAD: &str = "nobody_is_refused_and_each_pod_runs_once_whatever_is_done_to_one_service";

/// A file, and a test in it.
type Test = (&'static str, &'static str);

/// A row: what the guide does, and the tests.
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) guide: &'static str,
    pub(crate) proofs: &'static [Test],
}

pub(crate) const ROWS: [Row; 36] = [
    Row {
        number: 1,
        guide: "one socket path for the API server and the tunnel",
        proofs: &[
            (SEED, "row_1_one_socket_with_two_owners_is_refused_with_both_names_and_the_remedy"),
            (REFUSALS, "a_path_in_use_names_its_owner_and_the_ways_out"),
            ("crates/api/src/config/mod.rs", "one_socket_for_api_and_tunnel_names_both_keys_and_both_lines"),
        ],
    },
    Row {
        number: 2,
        guide: "a forward tunnel is drawn, a reverse one is made",
        proofs: &[
            (SEED, "row_2_the_tunnel_goes_forward_and_reverse_when_asked"),
            (
                "crates/tunnel/tests/real_sshd/reverse.rs",
                "connections_at_the_servers_port_and_socket_reach_the_local_service",
            ),
        ],
    },
    Row {
        number: 3,
        guide: "SidecarURL: http://remote-plugin",
        proofs: &[
            (SEED, "row_3_an_address_that_goes_past_the_tunnel_is_named"),
            ("crates/api/tests/api/process.rs", "a_sidecar_host_that_does_not_resolve_bypasses_the_tunnel"),
        ],
    },
    Row {
        number: 4,
        guide: "a tilde in quotes",
        proofs: &[
            (SEED, "rows_4_to_6_key_and_host_key_files_as_people_make_them"),
            ("crates/daemon/src/paths.rs", "only_a_leading_tilde_is_the_home"),
        ],
    },
    Row {
        number: 5,
        guide: "host key files of ssh-keyscan and of grep -o, which may be empty",
        proofs: &[
            (SEED, "rows_4_to_6_key_and_host_key_files_as_people_make_them"),
            (REFUSALS, "only_the_types_of_keys_on_record_are_asked_for"),
            (REFUSALS, "what_a_person_must_mend_ends_the_program_with_its_code_and_one_sentence"),
        ],
    },
    Row {
        number: 6,
        guide: "-hostkeyfile is optional, and without it nothing is verified",
        proofs: &[
            (SEED, "rows_4_to_6_key_and_host_key_files_as_people_make_them"),
            (REFUSALS, "a_new_host_is_accepted_once_and_recorded_privately"),
            (REFUSALS, "a_host_that_cannot_be_recorded_is_refused"),
            (REFUSALS, "a_wrong_host_key_is_refused_with_both_fingerprints_and_the_tunnel_stays"),
        ],
    },
    Row {
        number: 7,
        guide: "--provider, --nodename and --config; NodeName that differs; NodeLabels as a map",
        proofs: &[
            (SEED, "rows_7_8_10_and_11_the_kubelet_and_the_operators_commands"),
            ("crates/kubelet/src/config/tests.rs", "the_guides_file_and_command_line_work"),
            ("crates/kubelet/src/config/tests.rs", "the_node_has_one_name"),
        ],
    },
    Row {
        number: 8,
        guide: "a test pod without the toleration",
        proofs: &[
            (SEED, "rows_7_8_10_and_11_the_kubelet_and_the_operators_commands"),
            (BOOK, "the_walkthrough_operations_and_troubleshooting_do_what_the_book_says"),
            (
                "crates/kubelet/src/kubernetes/tolerations.rs",
                "only_pods_that_ask_for_the_node_are_told_what_is_missing",
            ),
        ],
    },
    Row {
        number: 9,
        guide: "the plugin's --port, PLUGIN_CONFIG, directories, and a GET without a body",
        proofs: &[
            (SEED, "row_9_the_plugin_takes_the_seeds_command_line_layout_and_curl"),
            ("crates/plugin/src/config/judge.rs", "flags_and_environment_win"),
            ("crates/plugin/tests/service/local.rs", "a_port_of_the_loopback_serves_what_a_socket_serves"),
        ],
    },
    Row {
        number: 10,
        guide: "curl and nc at the API server's socket",
        proofs: &[
            (SEED, "rows_7_8_10_and_11_the_kubelet_and_the_operators_commands"),
            ("crates/api/tests/api/process.rs", "bytes_that_are_no_http_get_a_400"),
            (BOOK, "the_walkthrough_operations_and_troubleshooting_do_what_the_book_says"),
        ],
    },
    Row {
        number: 11,
        guide: "kubectl logs without POD_IP",
        proofs: &[
            (SEED, "rows_7_8_10_and_11_the_kubelet_and_the_operators_commands"),
            ("crates/kubelet/src/kubernetes/connect.rs", "the_own_address_is_the_one_of_the_route"),
        ],
    },
    Row {
        number: 12,
        guide: "PrivateTmp in each unit, and the sockets in /tmp",
        proofs: &[(LOAD, UNDER_LOAD), (SERVICES, "our_units_have_nothing_to_complain_about")],
    },
    Row {
        number: 13,
        guide: "Requires= down the chain",
        proofs: &[(LOAD, UNDER_LOAD), (SERVICES, "our_units_have_nothing_to_complain_about")],
    },
    Row {
        number: 14,
        guide: "After=network.target",
        proofs: &[
            (SERVICES, "our_units_have_nothing_to_complain_about"),
            ("e2e/tests/reboot.rs", "the_chain_comes_up_by_itself_and_the_pods_run_on"),
        ],
    },
    Row {
        number: 15,
        guide: "Type=simple",
        proofs: &[
            (UNITS, "a_site_that_is_out_of_reach_keeps_no_unit_from_starting"),
            (UNITS, "what_a_person_must_mend_is_said_once_and_not_tried_again"),
            (SOCKETS, "a_program_that_hangs_is_replaced_and_one_with_a_dead_site_behind_it_is_not"),
            ("e2e/tests/restart.rs", "a_tunnel_whose_loop_stands_still_is_replaced_and_one_without_a_network_is_not"),
        ],
    },
    Row {
        number: 16,
        guide: "sockets that vanish during a restart",
        proofs: &[
            (LOAD, UNDER_LOAD),
            ("e2e/tests/units_several.rs", "each_forward_keeps_its_socket_and_one_that_is_gone_is_let_go"),
        ],
    },
    Row {
        number: 17,
        guide: "ExecReload= without a handler",
        proofs: &[
            (LOAD, UNDER_LOAD),
            ("crates/tunnel/tests/real_sshd/outages.rs", "a_hang_up_signal_reads_the_key_again_and_tries_at_once"),
            ("crates/api/tests/api/process.rs", "a_reload_takes_what_it_can_and_keeps_the_old_on_an_error"),
        ],
    },
    Row {
        number: 18,
        guide: "Restart=always for a wrong configuration as well",
        proofs: &[(UNITS, "what_a_person_must_mend_is_said_once_and_not_tried_again")],
    },
    Row {
        number: 19,
        guide: "a health check that starts what an operator stopped",
        proofs: &[
            (HEALTH, "what_was_stopped_is_reported_as_stopped_and_stays_so_for_two_periods"),
            (SERVICES, "our_units_have_nothing_to_complain_about"),
        ],
    },
    Row {
        number: 20,
        guide: "user and directories of the remote unit that nobody makes",
        proofs: &[
            (INSTALL, "both_ends_are_installed_once_and_go_without_a_trace"),
            (INSTALL, "a_slurm_site_is_refused_what_its_nodes_do_not_know_and_runs_pods_through_upgrades"),
        ],
    },
    Row {
        number: 21,
        guide: "ProtectSystem=strict without a place for certificates and host keys",
        proofs: &[
            ("e2e/tests/reboot.rs", "the_chain_comes_up_by_itself_and_the_pods_run_on"),
            (
                "crates/kubelet/src/server/tests/certificates.rs",
                "our_own_certificate_is_kept_private_and_stays_the_same",
            ),
            (SERVICES, "our_units_have_nothing_to_complain_about"),
        ],
    },
    Row {
        number: 22,
        guide: "the plugin's hardening, KillMode and environment, which pods would inherit",
        proofs: &[
            ("e2e/tests/units_local.rs", "a_pod_on_the_machine_itself_has_a_unit_of_its_own_and_outlives_the_plugin"),
            ("e2e/tests/units_slurm.rs", "a_pod_runs_as_a_slurm_job_and_has_nothing_of_the_units_sandbox"),
            ("crates/plugin/src/scheduler/command.rs", "nothing_of_our_environment_but_the_listed_reaches_it"),
        ],
    },
    Row {
        number: 23,
        guide: "StandardOutput=append: beside journalctl -f",
        proofs: &[
            (SERVICES, "our_units_have_nothing_to_complain_about"),
            (
                "e2e/tests/units_logs.rs",
                "each_line_is_there_once_after_three_rotations_and_every_running_program_is_told",
            ),
            ("crates/daemon/src/logs/file.rs", "a_file_is_appended_to_and_private"),
            (BOOK, "the_walkthrough_operations_and_troubleshooting_do_what_the_book_says"),
        ],
    },
    Row {
        number: 24,
        guide: "logrotate without a word to whoever writes",
        proofs: &[
            (LOAD, UNDER_LOAD),
            (
                "e2e/tests/units_logs.rs",
                "each_line_is_there_once_after_three_rotations_and_every_running_program_is_told",
            ),
            ("crates/tunnel/tests/real_sshd/logs.rs", "no_line_is_lost_or_doubled_when_the_file_is_rotated"),
            ("crates/daemon/src/logs/file.rs", "lines_go_on_in_the_renamed_file_until_it_is_opened_again"),
        ],
    },
    Row {
        number: 25,
        guide: "pgrep -f ssh-tunnel",
        proofs: &[
            ("crates/ctl/src/check/programs.rs", "a_program_is_known_by_its_name_and_not_by_its_arguments"),
            (BOOK, "the_walkthrough_operations_and_troubleshooting_do_what_the_book_says"),
        ],
    },
    Row {
        number: 26,
        guide: "curl -s without -f and without a time limit",
        proofs: &[
            (PINGS, "an_error_answer_and_a_page_are_no_answers_and_silence_ends"),
            (CHECK, "programs_that_hang_are_named_and_so_are_their_sockets"),
        ],
    },
    Row {
        number: 27,
        guide: "grep -q Ready, which NotReady matches",
        proofs: &[(NODE, "a_node_is_ready_by_its_conditions_status_alone"), (CLUSTER, "the_node_is_part_of_the_chain")],
    },
    Row {
        number: 28,
        guide: "a node that is NotReady is a warning, and the exit code 0",
        proofs: &[
            (CLUSTER, "the_node_is_part_of_the_chain"),
            (HEALTH, "what_was_stopped_is_reported_as_stopped_and_stays_so_for_two_periods"),
        ],
    },
    Row {
        number: 29,
        guide: "nc -z 127.0.0.1 4000, which tests nothing behind the tunnel",
        proofs: &[(CHECK, STOPPED), (CHECK, "a_scheduler_that_is_down_is_named_as_the_hop")],
    },
    Row {
        number: 30,
        guide: "a key with no-port-forwarding",
        proofs: &[
            (UNITS, "each_of_the_three_keys_carries_the_chain"),
            (KEYS, "the_key_of_rexec_opens_the_plugin_and_nothing_else"),
            (KEYS, "the_key_of_rport_opens_its_port_and_nothing_else"),
            (KEYS, "the_key_of_rsock_gives_no_shell_but_reaches_what_the_machine_reaches_as_its_template_says"),
        ],
    },
    Row {
        number: 31,
        guide: "ForceCommand in the Match block",
        proofs: &[
            ("crates/tunnel/tests/real_sshd/rexec.rs", "a_foreign_command_in_its_place_is_named"),
            ("crates/ctl/src/install/plan/remote.rs", "each_form_has_its_own_restriction_and_the_key_alone"),
            (INSTALL, "both_ends_are_installed_once_and_go_without_a_trace"),
        ],
    },
    Row {
        number: 32,
        guide: "an sshd that is never reloaded, or reads no fragments",
        proofs: &[
            (INSTALL, "both_ends_are_installed_once_and_go_without_a_trace"),
            ("crates/ctl/src/install/plan/remote.rs", "the_match_block_is_a_fragment_where_fragments_are_read"),
            ("crates/ctl/src/install/step/sshd.rs", "what_does_not_hold_is_named_with_what_holds"),
        ],
    },
    Row {
        number: 33,
        guide: "ufw allow 4000/tcp",
        proofs: &[
            ("crates/ctl/src/install/plan/mod.rs", "no_rule_of_any_firewall_opens_the_plugin"),
            ("crates/plugin/src/config/judge.rs", "flags_and_environment_win"),
            (REMOTE, "a_port_that_is_open_to_other_machines_is_named"),
        ],
    },
    Row {
        number: 34,
        guide: "an administrator's kubeconfig for a daemon",
        proofs: &[
            (INSTALL, "both_ends_are_installed_once_and_go_without_a_trace"),
            (BOOK, "the_walkthrough_operations_and_troubleshooting_do_what_the_book_says"),
        ],
    },
    Row {
        number: 35,
        guide: "chown -R interlink /opt/interlink",
        proofs: &[
            (INSTALL, "both_ends_are_installed_once_and_go_without_a_trace"),
            ("e2e/tests/intruders.rs", "another_user_of_the_machine_finds_every_door_closed"),
        ],
    },
    Row {
        number: 36,
        guide: "a plugin on a TCP port of a login node",
        proofs: &[
            ("e2e/tests/intruders.rs", "another_user_of_the_machine_finds_every_door_closed"),
            ("e2e/tests/narrow_key.rs", "dial_stdio_reaches_the_plugin_where_forwarding_is_forbidden_and_nothing_else"),
        ],
    },
];
