//! The faults that are planted, and the words that `check` must say of each.

use crate::{CHECK, CLUSTER, HEALTH, NODE, PINGS, REMOTE, SERVICES, STOPPED};

const DEEP: &str = "crates/ctl/tests/check/deep.rs";
const LOGS: &str = "crates/ctl/src/check/logs.rs";
const FILES: &str = "crates/ctl/src/check/modes.rs";
const MEETINGS: &str = "crates/ctl/src/check/sockets.rs";
const AGREEMENT: &str = "crates/ctl/src/check/agreement.rs";
const SSHD: &str = "crates/ctl/src/check/remote/sshd.rs";
const KEY: &str = "crates/ctl/src/check/remote/key.rs";
const GUIDES_UNITS: &str = "each_fault_of_the_guides_units_is_named_with_the_line_to_write";
const FAR_END: &str = "a_healthy_far_end_has_no_fault_and_what_sshd_and_keys_forbid_is_named";

/// Rows of which nothing is left for an operator to get wrong.
pub(crate) const NO_FAULT: [(u8, &str); 5] = [
    (4, "the tilde is expanded"),
    (9, "command line, layout and call work"),
    (10, "both commands get their answer"),
    (25, "nothing is found by command lines"),
    (27, "the check reads the condition; a node that is NotReady is row 28"),
];

/// A planted fault: its row, or 0 where the guide has none for it; the test that plants it, and words of it or of its
/// remedy that the test wants to see.
type Planted = (u8, &'static str, &'static str, &'static str);

pub(crate) const PLANTED: [Planted; 95] = [
    (
        1,
        CHECK,
        "one_socket_for_api_and_tunnel_is_named_with_the_lines_to_change",
        "InterlinkAddress and SidecarURL are the same socket",
    ),
    (1, CHECK, "the_guides_one_path_for_two_owners_is_named_with_the_lines_to_change", "are both to listen on"),
    (
        2,
        CHECK,
        "a_tunnel_in_reverse_is_named_where_the_api_server_dials_it",
        "ssh-tunnel runs with -reverse, so it listens at",
    ),
    (3, CHECK, "a_sidecar_url_that_bypasses_the_tunnel_is_named", "of SidecarURL does not resolve"),
    (3, AGREEMENT, "whoever_dials_must_dial_where_the_next_one_listens", "bypasses ssh-tunnel, which listens on"),
    (5, CHECK, "what_keeps_the_tunnel_from_starting_is_named_in_its_own_words", "holds no key"),
    (6, CHECK, "a_server_with_another_key_is_named", "is not the one on record"),
    (7, CHECK, "a_node_of_two_names_is_warned_about", "NodeName says"),
    (8, CLUSTER, "the_node_is_part_of_the_chain", "{key: virtual-node.interlink/no-schedule, operator: Exists}"),
    (11, CLUSTER, "a_kubelet_that_the_api_server_cannot_reach_is_named", "does not reach the kubelet's port"),
    (12, MEETINGS, "what_is_at_the_path_is_judged", "has, as PrivateTmp="),
    (12, SERVICES, "one_line_that_is_missing_in_a_unit_of_ours_is_one_fault", "takes the sockets of the others along"),
    (13, SERVICES, GUIDES_UNITS, "a kill or restart of one ends the others"),
    (14, SERVICES, GUIDES_UNITS, "they start before there is a network"),
    (15, SERVICES, GUIDES_UNITS, "interlink-tunnel (Type=simple), interlink-api (Type=simple)"),
    (16, SERVICES, GUIDES_UNITS, "clients are refused while it restarts"),
    (17, SERVICES, GUIDES_UNITS, "systemctl reload fails"),
    (18, SERVICES, GUIDES_UNITS, "a wrong configuration is started for ever"),
    (19, SERVICES, GUIDES_UNITS, "the timer starts services that an operator has stopped"),
    (20, REMOTE, FAR_END, "the DataRootFolder /nowhere/jobs does not exist"),
    (
        20,
        REMOTE,
        "job_directories_that_compute_nodes_do_not_see_are_named",
        "a compute node does not see the DataRootFolder",
    ),
    (
        20,
        REMOTE,
        "job_directories_that_compute_nodes_do_not_see_are_named",
        "is not the compute nodes': one does not know it",
    ),
    (
        20,
        REMOTE,
        "job_directories_that_compute_nodes_do_not_see_are_named",
        "is in this machine's memory, which no compute node sees",
    ),
    (21, SERVICES, GUIDES_UNITS, "ProtectSystem=strict without StateDirectory="),
    (22, SERVICES, GUIDES_UNITS, "(KillMode=control-group) a stop kills a submission"),
    (23, SERVICES, GUIDES_UNITS, "interlink-tunnel (StandardOutput=append:"),
    (24, CHECK, "a_log_that_was_rotated_away_without_a_word_is_named", "the file was rotated away and nobody said so"),
    (24, LOGS, "a_program_that_writes_to_a_rotated_file_is_named", "/o/t.log (deleted)"),
    (26, SERVICES, GUIDES_UNITS, "(no TimeoutStartSec=) one check that hangs"),
    (26, PINGS, "an_error_answer_and_a_page_are_no_answers_and_silence_ends", "its ping is answered with an error"),
    (28, CLUSTER, "the_node_is_part_of_the_chain", "is NotReady: Kubernetes has not heard"),
    (29, CHECK, "a_port_that_nothing_listens_on_is_named", "nothing listens at localhost:"),
    (29, CHECK, "a_scheduler_that_is_down_is_named_as_the_hop", "see whether slurm answers on this host"),
    (30, REMOTE, FAR_END, "forbids forwarding (no-port-forwarding"),
    (31, REMOTE, FAR_END, "take ForceCommand out of its Match block"),
    (31, CHECK, "what_runs_in_place_of_dial_stdio_is_named", "a ForceCommand in the server's sshd_config"),
    (32, REMOTE, FAR_END, "systemctl reload ssh"),
    (32, REMOTE, FAR_END, "sshd does not accept its configuration"),
    (33, REMOTE, "a_port_that_is_open_to_other_machines_is_named", "is open to other machines (something listens on"),
    (33, REMOTE, "a_port_that_is_open_to_other_machines_is_named", "without the tunnel"),
    (34, CLUSTER, "the_node_is_part_of_the_chain", "administrator's rights"),
    (
        35,
        HEALTH,
        "what_was_stopped_is_reported_as_stopped_and_stays_so_for_two_periods",
        "file modes: the service can rewrite /opt/interlink/config",
    ),
    (35, FILES, "what_a_service_or_a_stranger_could_change_is_named", "the service can rewrite /o/bin/x"),
    (36, CHECK, "programs_that_hang_are_named_and_so_are_their_sockets", "open to other users"),
    (36, REMOTE, FAR_END, "open to other users of this machine (mode 0666)"),
    // beyond the guide: programs and their sockets
    (0, CHECK, STOPPED, "on 127.0.0.1 can't be connected to"),
    (0, CHECK, STOPPED, "can't be connected to (Connection refused"),
    (0, CHECK, STOPPED, "ssh-tunnel is not running"),
    (0, CHECK, STOPPED, "it has left its state socket"),
    (0, CHECK, STOPPED, "interlink is not running"),
    (0, CHECK, STOPPED, "virtual-kubelet is not running"),
    (0, CHECK, "programs_that_hang_are_named_and_so_are_their_sockets", "restart it if it hangs"),
    (0, CHECK, "programs_that_hang_are_named_and_so_are_their_sockets", "look at the plugin's log"),
    (0, CHECK, "programs_that_hang_are_named_and_so_are_their_sockets", "api.sock (InterlinkAddress) is not there"),
    (0, CHECK, "programs_that_hang_are_named_and_so_are_their_sockets", "is there, but is not a socket"),
    (0, CHECK, "another_user_is_told_whose_the_programs_are", "that of the user with the number 0"),
    (0, MEETINGS, "what_is_at_the_path_is_judged", "nobody listens: ssh-tunnel is gone"),
    (0, MEETINGS, "what_is_at_the_path_is_judged", "interlink (process 7) listens on"),
    (0, MEETINGS, "what_is_at_the_path_is_judged", "but interlink runs as another"),
    (0, REMOTE, FAR_END, "interlink-plugin is not running"),
    // addresses and configuration
    (0, CHECK, "addresses_that_do_not_meet_are_named", "virtual-kubelet dials unix:///nowhere/api.sock"),
    (0, CHECK, "addresses_that_do_not_meet_are_named", "but ssh-tunnel listens on"),
    (
        0,
        AGREEMENT,
        "whoever_dials_must_dial_where_the_next_one_listens",
        "the file is unix:///a, but the program has unix:///b",
    ),
    (0, CHECK, "a_configuration_that_cannot_be_read_is_named_with_its_line", "InterlinkURL"),
    (0, CHECK, "what_keeps_the_tunnel_from_starting_is_named_in_its_own_words", "tunnel.env does not set TUNNEL_TO"),
    (0, CHECK, "what_keeps_the_tunnel_from_starting_is_named_in_its_own_words", "/nowhere/key"),
    (0, REMOTE, FAR_END, "Scheduler must be local or slurm"),
    (0, REMOTE, FAR_END, "has no Socket, so dial-stdio"),
    // the way to the server, and what it lets through
    (0, CHECK, "a_server_that_cannot_be_found_is_named", "login.invalid can't be resolved"),
    (0, CHECK, "a_key_that_is_not_let_in_is_named", "authorized_keys"),
    (
        0,
        CHECK,
        "forbidden_forwarding_is_named_with_the_options_of_sshd",
        "AllowStreamLocalForwarding must be yes or local",
    ),
    (0, CHECK, "forbidden_forwarding_is_named_with_the_options_of_sshd", "AllowTcpForwarding must be yes or local"),
    (0, CHECK, "what_runs_in_place_of_dial_stdio_is_named", "without carrying anything"),
    (0, CHECK, "what_runs_in_place_of_dial_stdio_is_named", "can't reach the service's socket"),
    (0, REMOTE, FAR_END, "DisableForwarding is yes"),
    (0, REMOTE, FAR_END, "AllowTcpForwarding is no"),
    (0, REMOTE, FAR_END, "AllowStreamLocalForwarding is no"),
    (0, REMOTE, FAR_END, "(AllowUsers, DenyUsers)"),
    (0, REMOTE, FAR_END, "PubkeyAuthentication is no"),
    (0, SSHD, "what_keeps_a_tunnel_out_is_named_with_the_line_to_change", "denyusers interlink"),
    (0, REMOTE, FAR_END, "/nowhere/plugin: No such file"),
    (0, KEY, "keys_that_cannot_do_their_work_are_named", "/nowhere.yaml does not exist"),
    (0, REMOTE, FAR_END, "that carries no connections"),
    (0, REMOTE, FAR_END, "gives a shell"),
    (0, REMOTE, FAR_END, "has no key, so none lets the tunnel in"),
    (0, REMOTE, FAR_END, "there is no account no-such-account"),
    // files, the cluster, a pod
    (0, CHECK, "files_that_others_can_change_or_read_are_warned_about", "every user of this machine can change"),
    (
        0,
        CHECK,
        "files_that_others_can_change_or_read_are_warned_about",
        "is a secret, but other users may use it (mode 0644)",
    ),
    (0, CLUSTER, "the_node_is_part_of_the_chain", "there is no node other"),
    (0, CLUSTER, "the_node_is_part_of_the_chain", "can't be asked for"),
    (0, NODE, "what_is_wrong_is_named", "InterlinkConnectivity=False: why"),
    (0, NODE, "a_node_is_ready_by_its_conditions_status_alone", "no condition Ready"),
    (0, REMOTE, "job_directories_that_compute_nodes_do_not_see_are_named", "Invalid account"),
    (0, DEEP, "a_pod_that_fails_and_one_that_does_not_start_are_named_and_removed", "the test pod failed: "),
    (0, DEEP, "a_pod_that_fails_and_one_that_does_not_start_are_named_and_removed", "had not ended after 4 s: "),
];
