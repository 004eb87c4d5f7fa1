import Foundation

/// Holds a host at one moment of an apply until it is opened, so that a fault can strike exactly then.
enum Stage: String, Sendable {
    /// Before the apply is started: there is no gate.
    case start
    case login
    case probe
    /// In a step, before or after it has done its work.
    case step
    case done
    /// When the host is looked at after the change.
    case look
}

extension World {
    /// Prepares a host to be held once at this stage.
    func setGate(_ stage: Stage, on host: String) throws {
        guard stage != .start else { return }
        try on(
            host,
            """
            rm -rf /run/gate; mkdir -p -m 1777 /run/gate; chmod 1777 /run/gate; : >/run/gate/closed; echo \(stage.rawValue) >/run/gate/stage
            cat >/usr/local/sbin/gate <<'END'
            #!/bin/sh
            [ "$(cat /run/gate/stage)" = "$1" ] && [ -e /run/gate/closed ] && mkdir /run/gate/reached 2>/dev/null || exit 0
            while [ -e /run/gate/closed ]; do sleep 0.05; done
            END
            cat >/usr/local/sbin/ip <<'END'
            #!/bin/sh
            case "$*" in
            'link set dev '*)
                gate step
                /usr/sbin/ip "$@"
                status=$?
                : >/run/gate/changed
                gate done
                exit "$status"
                ;;
            *'addr show')
                gate probe
                [ ! -e /run/gate/changed ] || gate look
                ;;
            esac
            exec /usr/sbin/ip "$@"
            END
            printf '#!/bin/sh\\n/usr/local/sbin/gate login\\ncat /etc/ssh/lab_authorized_keys\\n' >/usr/local/sbin/keys
            chmod 0755 /usr/local/sbin/gate /usr/local/sbin/ip /usr/local/sbin/keys
            """
        )
        guard stage == .login else { return }
        // sshd asks this command, and waits for it.
        try on(
            host,
            """
            sed -i 's,^AuthorizedKeysFile.*,AuthorizedKeysFile none,' /etc/ssh/sshd_config
            printf 'AuthorizedKeysCommand /usr/local/sbin/keys\\nAuthorizedKeysCommandUser root\\n' >>/etc/ssh/sshd_config
            """
        )
        try lab("stop", host)
        try lab("start", host)
    }

    func isReached(_ host: String) -> Bool { (try? on(host, "test ! -d /run/gate/reached || echo yes")) == "yes\n" }

    func openGate(_ host: String) throws { try on(host, "rm -f /run/gate/closed") }

    func removeGate(_ host: String) throws { try on(host, "rm -rf /run/gate/closed /usr/local/sbin/ip") }
}
