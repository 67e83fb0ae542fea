//! Units of `deploy/` for another account, and for a user's own service manager.

/// For the account that the services run as.
#[must_use]
pub fn of_account(unit: &str, account: &str, group: &str) -> String {
    unit.replace("User=interlink\n", &format!("User={account}\n"))
        .replace("Group=interlink\n", &format!("Group={group}\n"))
}

/// What a user's own service manager can do without root; the rest of the hardening is the machine's to give.
const KEPT: [&str; 4] = ["UMask=", "NoNewPrivileges=", "LockPersonality=", "RestrictRealtime="];
/// What goes: accounts, and what needs privileges. `/home` is where everything is.
const GONE: [&str; 37] = [
    "User=",
    "Group=",
    "SocketUser=",
    "SocketGroup=",
    // programs keep their state in ~/.local/state by themselves, where an older systemd would not put it
    "StateDirectory=",
    "StateDirectoryMode=",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "SecureBits=",
    "ProtectSystem=",
    "ProtectHome=",
    "PrivateTmp=",
    "PrivateDevices=",
    "ProtectClock=",
    "ProtectHostname=",
    "ProtectKernelTunables=",
    "ProtectKernelModules=",
    "ProtectKernelLogs=",
    "ProtectControlGroups=",
    "ProtectProc=",
    "ProcSubset=",
    "RestrictAddressFamilies=",
    "RestrictNamespaces=",
    "RestrictSUIDSGID=",
    "MemoryDenyWriteExecute=",
    "RemoveIPC=",
    "KeyringMode=",
    "SystemCallArchitectures=",
    "SystemCallFilter=",
    "SystemCallErrorNumber=",
    "ReadWritePaths=",
    "LimitNOFILE=",
    "BindPaths=",
    "BindReadOnlyPaths=",
    "PrivateUsers=",
    "IPAddressDeny=",
    "DevicePolicy=",
];

/// For a user's own service manager.
#[must_use]
pub fn at_home(unit: &str) -> String {
    let stays =
        |line: &&str| KEPT.iter().any(|key| line.starts_with(key)) || !GONE.iter().any(|key| line.starts_with(key));
    let text: String = unit.lines().filter(stays).map(|line| format!("{line}\n")).collect();
    // there is no network-online.target among a user's units
    text.replace("network-online.target ", "")
        .replace("Wants=network-online.target\n", "")
        .replace("After=network-online.target\n", "")
        .replace("WantedBy=multi-user.target", "WantedBy=default.target")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::templates::{API_UNIT, PLUGIN_UNIT, TUNNEL_UNIT};

    #[test]
    fn another_account_runs_it() {
        let unit = of_account(API_UNIT, "hpc", "users");
        assert!(unit.contains("\nUser=hpc\nGroup=users\n") && !unit.contains("User=interlink"), "{unit}");
    }

    #[test]
    fn a_users_own_unit_asks_for_nothing_that_needs_root() {
        for unit in [API_UNIT, PLUGIN_UNIT, TUNNEL_UNIT] {
            let unit = at_home(unit);
            for gone in ["User=", "Protect", "Capabilit", "Wants=network-online", "SystemCall"] {
                assert!(!unit.lines().any(|line| line.starts_with(gone)), "{gone}: {unit}");
            }
            for kept in ["Type=notify", "Restart=always", "RuntimeDirectory=interlink", "WantedBy=default.target"] {
                assert!(unit.contains(kept), "{kept}: {unit}");
            }
        }
    }
}
