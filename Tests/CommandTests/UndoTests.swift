import Foundation
import Testing
import Values

extension LabTests {
    /// Changes that may cut the connection, on hosts that can really be cut off.
    @Suite struct UndoTests {
        private static let quick = ["--yes", "--output", "jsonl", "--timeout", "2s"]

        @Test func aChangeThatDoesNotCutIsConfirmedAndLeavesNothing() async throws {
            let lab = try Lab()
            try await lab.withHost("calm") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["calm"]) + Lab.eth0("mtu: 1400")]) { source in
                    let plan = try await lab.plumb(["plan", source, "-v"])
                    #expect(plan.output.contains("may cut the connection: the host undoes it by itself unless it is confirmed"))
                    #expect(plan.output.contains("$ (armed on the host first) ip link set dev eth0 mtu 1500"))
                    let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "10s"] + Self.quick)
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    #expect(try apply.lines.last?["succeeded"] == 1)
                }
                #expect(try await lab.link("calm", "eth0")["mtu"] == 1400)
                try await lab.expectNothingArmed("calm")
                // Taken twice, for the confirmation went over a new connection.
                try await lab.expectNotHeld("calm")
                // Past the time of the undo, too.
                try await Task.sleep(for: .seconds(1))
                #expect(try await lab.link("calm", "eth0")["mtu"] == 1400)
            }
        }

        @Test(arguments: ["flags: {up: false}", "flags: {arp: false}", "mtu: 1400, flags: {up: false, multicast: false}"])
        func aChangeThatCutsTheLinkIsTakenBackByTheHost(fields: String) async throws {
            let lab = try Lab()
            try await lab.withHost("cutoff") {
                // What the kernel drops with a link, and does not bring back.
                try await lab.lab(
                    "exec",
                    "cutoff",
                    "sh",
                    "-ec",
                    "ip route add default via 10.77.0.1; ip -6 addr add fd00::5/64 dev eth0 nodad; ip -6 route add fd01::/64 via fd00::1; "
                        + "ip route add 192.0.2.0/24 via 10.77.0.1 table 77"
                )
                let before = try await lab.network("cutoff")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["cutoff"]) + Lab.eth0(fields)]) { source in
                    let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "2s"] + Self.quick)
                    #expect(apply.status == 1)
                    let summary = try #require(try apply.lines.last)
                    #expect(summary["rolledBack"] == 1 && summary["succeeded"] == 0 && summary["failed"] == 0, "\(apply.output)")
                    let event = try #require(try apply.lines.first { $0["type"] == "rolledBack" })
                    #expect(event["address"] == "cutoff/NetworkInterface/eth0")
                    #expect(event["message"]?.stringValue?.contains("not confirmed within 2 s") == true, "\(event)")
                    #expect(event["message"]?.stringValue?.hasSuffix("It is as it was before.") == true, "\(event)")
                }
                #expect(try await lab.network("cutoff") == before)
                try await lab.expectNothingArmed("cutoff")
            }
        }

        @Test func rulesThatLetUsInComeBack() async throws {
            let lab = try Lab()
            try await lab.withHost("firewall") {
                try await lab.lab(
                    "exec",
                    "firewall",
                    "sh",
                    "-ec",
                    "iptables-nft -N OLD_ALLOW; iptables-nft -A OLD_ALLOW -p tcp --dport 22 -m comment --comment 'it'\\''s us' -j ACCEPT; "
                        + "iptables-nft -A INPUT -i lo -j ACCEPT; iptables-nft -A INPUT -j OLD_ALLOW; iptables-nft -A INPUT -p udp -j DROP; "
                        + "iptables-nft -P INPUT DROP"
                )
                let before = try await lab.rules("firewall")
                let spec = Lab.spec("IptablesChain", "table: filter, chains: [OLD_ALLOW], references: remove")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["firewall"]) + spec]) { source in
                    let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "2s"] + Self.quick)
                    #expect(apply.status == 1)
                    #expect(try apply.lines.last?["rolledBack"] == 1, "\(apply.output) \(apply.errorOutput)")
                }
                #expect(try await lab.rules("firewall") == before)
                try await lab.expectNothingArmed("firewall")
                try await lab.expectNotHeld("firewall")
            }
        }

        @Test func plumbKilledAfterTheChangeIsNoHarm() async throws {
            let lab = try Lab()
            try await lab.withHost("killed") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["killed"]) + Lab.eth0("flags: {up: false}")]) { source in
                    let command = lab.commandLine(["apply", source, "--confirm-timeout", "4s"] + Self.quick)
                    let killed = try await run(["bash", "-c", Self.killWhenDown, "bash", "killed"] + command)
                    #expect(killed.status == 137, "\(killed.output) \(killed.errorOutput)")
                    // As long as nobody can reach it nobody could help it, either.
                    try await lab.expectNothingArmed("killed", within: .seconds(10))
                    #expect(try await lab.isUp("killed"))
                    let plan = try await lab.plumb(["plan", source, "--output", "json"])
                    #expect(try plan.document.changes == ["killed/NetworkInterface/eth0 update"])
                }
            }
        }

        @Test func theNextRunWaitsForAnUndoThatIsArmed() async throws {
            let lab = try Lab()
            try await lab.withHost("next") {
                // Killed while the change is being made: it holds the undo up for no longer than it takes.
                try await lab.slow("next", "mtu 1400")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["next"]) + Lab.eth0("mtu: 1400")]) { source in
                    let command = lab.commandLine(["apply", source, "--confirm-timeout", "5s"] + Self.quick)
                    _ = try await run(["bash", "-c", Self.killWhenChanging, "bash", "next"] + command)
                    try await lab.lab("exec", "next", "sh", "-c", "until ip link show eth0 | grep -q 'mtu 1400'; do sleep 0.1; done")

                    let plan = try await lab.plumb(["plan", source, "--output", "json"])
                    #expect(try plan.document.changes.isEmpty)
                    #expect(try "\(plan.document["notes"] ?? .null)".contains("a change is not yet confirmed"), "\(plan.output)")

                    // Planned at once, it would find nothing to do, and be wrong a moment later.
                    try await lab.lab("exec", "next", "rm", "/usr/local/sbin/ip")
                    let apply = try await lab.plumb(["apply", source, "--yes", "--confirm-timeout", "5s"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    #expect(apply.errorOutput.contains("the undo of next/NetworkInterface/eth0"), "\(apply.errorOutput)")
                    #expect(apply.output.contains("mtu: 1500 → 1400"), "\(apply.output)")
                }
                #expect(try await lab.link("next", "eth0")["mtu"] == 1400)
                try await lab.expectNothingArmed("next")
            }
        }

        @Test func anUndoWithoutAnyoneWhoRunsItIsTakenOver() async throws {
            let lab = try Lab()
            try await lab.withHost("orphan") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["orphan"]) + Lab.eth0("flags: {up: false}")]) { source in
                    let command = lab.commandLine(["apply", source, "--confirm-timeout", "3s"] + Self.quick)
                    _ = try await run(["bash", "-c", Self.killWhenDown, "bash", "orphan"] + command)
                    // The process that would undo it is killed as well, its time passes, and somebody gets the link up again.
                    try await lab.lab(
                        "exec",
                        "orphan",
                        "sh",
                        "-c",
                        "cd /run/plumb/undo; for undo in *; do kill -9 $(pgrep -f \"program watch $undo\"); mv $undo 1-${undo#*-}; done; ip link set dev eth0 up"
                    )
                }
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["orphan"]) + Lab.eth0("mtu: 1400")]) { source in
                    let apply = try await lab.plumb(["apply", source, "--yes"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    #expect(apply.output.contains("so it was run now"), "\(apply.output)")
                }
                try await lab.expectNothingArmed("orphan")
            }
        }

        @Test func theNetworkGoesWhileTheChangeIsMade() async throws {
            let lab = try Lab()
            try await lab.withHost("flaky") {
                try await lab.slow("flaky", "mtu 1400")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["flaky"]) + Lab.eth0("mtu: 1400")]) { source in
                    // Back before the time is over: no failure at all, since a new connection finds what is declared.
                    let command = lab.commandLine(["apply", source, "--confirm-timeout", "8s"] + Self.quick)
                    let back = try await run(["bash", "-c", Self.cutWhenChanging, "bash", "flaky", "2"] + command)
                    #expect(back.status == 0, "\(back.output) \(back.errorOutput)")
                    try await lab.expectNothingArmed("flaky")
                    try await lab.lab("exec", "flaky", "sh", "-c", "rm /run/lab/changing; ip link set dev eth0 mtu 1500")

                    // Back after it: rolled back.
                    let short = lab.commandLine(["apply", source, "--confirm-timeout", "3s"] + Self.quick)
                    let late = try await run(["bash", "-c", Self.cutWhenChanging, "bash", "flaky", "7"] + short)
                    #expect(late.status == 1)
                    #expect(try late.lines.last?["rolledBack"] == 1, "\(late.output) \(late.errorOutput)")
                    #expect(try await lab.link("flaky", "eth0")["mtu"] == 1500)
                    try await lab.expectNothingArmed("flaky")
                }
            }
        }

        @Test func aHostThatStaysAwayIsSaidToRevertByItself() async throws {
            let lab = try Lab()
            try await lab.withHost("away") {
                try await lab.slow("away", "mtu 1400")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["away"]) + Lab.eth0("mtu: 1400")]) { source in
                    let command = lab.commandLine(["apply", source, "--confirm-timeout", "2s"] + Self.quick)
                    let apply = try await run(["bash", "-c", Self.cutWhenChanging, "bash", "away", "0"] + command)
                    #expect(apply.status == 1)
                    #expect(try apply.lines.last?["failed"] == 1 && apply.lines.last?["rolledBack"] == 0, "\(apply.output)")
                    let message = try apply.lines.first { $0["type"] == "failed" }?["message"]?.stringValue ?? ""
                    #expect(message.contains(/The host reverts by itself at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/), "\(message)")
                }
                #expect(try await lab.link("away", "eth0")["mtu"] == 1500)
                try await lab.expectNothingArmed("away")
            }
        }

        @Test func withoutTheRightToArmNothingIsChanged() async throws {
            let lab = try Lab()
            try await lab.withHost("narrow") {
                // The change itself is allowed: that is not enough.
                try await lab.lab(
                    "exec",
                    "narrow",
                    "sh",
                    "-c",
                    "echo 'restricted ALL=(root) NOPASSWD: /usr/sbin/ip link set dev eth0 mtu 1400' >>/etc/sudoers"
                )
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["narrow"], user: "restricted") + Lab.eth0("mtu: 1400")]) { source in
                    let apply = try await lab.plumb(["apply", source] + Self.quick)
                    #expect(apply.status == 1)
                    let problem = try #require(try apply.lines.first { $0["type"] == "problem" }, "\(apply.output)")
                    #expect(problem["status"] == "blocked" && problem["address"] == "narrow/NetworkInterface/eth0")
                    let message = problem["message"]?.stringValue ?? ""
                    #expect(message.contains("so it is not made"), "\(apply.output)")
                    #expect(try await lab.link("narrow", "eth0")["mtu"] == 1500)
                    try await lab.expectNothingArmed("narrow")

                    // The line that is missing, pasted, is enough.
                    let line = try #require(message.split(separator: "\n").first { $0.contains("NOPASSWD") })
                    try await lab.lab("exec", "narrow", "sh", "-c", "echo '\(line)' >>/etc/sudoers; visudo -c")
                    let again = try await lab.plumb(["apply", source] + Self.quick)
                    #expect(again.status == 0, "\(again.output) \(again.errorOutput)")
                }
                try await lab.expectNothingArmed("narrow")
            }
        }

        @Test func aStepThatFailsTakesTheWholeActionBack() async throws {
            let lab = try Lab()
            try await lab.withHost("half") {
                try await lab.wrapIP("half", "case \"$*\" in *'multicast off') echo 'RTNETLINK answers: no' >&2; exit 2 ;; esac")
                let spec = Lab.eth0("mtu: 1400, flags: {multicast: false}")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["half"]) + spec]) { source in
                    let apply = try await lab.plumb(["apply", source] + Self.quick)
                    #expect(apply.status == 1)
                    let message = try apply.lines.first { $0["type"] == "rolledBack" }?["message"]?.stringValue ?? ""
                    #expect(message.contains("'ip link set dev eth0 multicast off' ended with status 2: RTNETLINK answers: no"), "\(apply.output)")
                    #expect(try await lab.link("half", "eth0")["mtu"] == 1500)
                    try await lab.expectNothingArmed("half")

                    // And where not even the undo works, that is said, and it is no rollback.
                    try await lab.wrapIP("half", "case \"$*\" in *'multicast off' | *'mtu 1500') echo 'RTNETLINK answers: no' >&2; exit 2 ;; esac")
                    let broken = try await lab.plumb(["apply", source] + Self.quick)
                    #expect(broken.status == 1)
                    #expect(try broken.lines.last?["rolledBack"] == 0 && broken.lines.last?["failed"] == 1, "\(broken.output)")
                    #expect(broken.output.contains("the undo did not go through"), "\(broken.output)")
                    try await lab.expectNothingArmed("half")
                }
            }
        }

        @Test func twoOfThemGoOneAfterTheOther() async throws {
            let lab = try Lab()
            try await lab.withHost("both", drift: true) {
                try await lab.lab("exec", "both", "iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "OLD_CILIUM_POST_nat")
                let chains = Lab.spec("IptablesChain", "table: nat, chains: [OLD_CILIUM_POST_nat], references: remove")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["both"]) + Lab.eth0("mtu: 1400") + chains]) { source in
                    let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "10s"] + Self.quick)
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    #expect(try apply.lines.last?["succeeded"] == 2)
                }
                #expect(try await !lab.rules("both").contains("-j OLD_CILIUM_POST_nat\n"))
                try await lab.expectNothingArmed("both")

                // One that is taken back keeps nobody from the other.
                try await lab.lab("drift", "both")
                try await lab.lab("exec", "both", "iptables-nft", "-t", "nat", "-A", "POSTROUTING", "-j", "OLD_CILIUM_POST_nat")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["both"]) + Lab.eth0("flags: {up: false}") + chains]) { source in
                    let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "3s"] + Self.quick)
                    #expect(apply.status == 1)
                    #expect(try apply.lines.last?["succeeded"] == 1 && apply.lines.last?["rolledBack"] == 1, "\(apply.output) \(apply.errorOutput)")
                }
                try await lab.expectNothingArmed("both")
            }
        }

        // HOST COMMAND...; each ends with the command's status.
        private static let killWhenDown = #"""
            host=$1; shift; "$@" & plumb=$!
            until lab exec "$host" ip -j link show eth0 | grep -vq '"UP"'; do sleep 0.05; done
            kill -9 "$plumb"; wait "$plumb"
            """#
        private static let killWhenChanging = #"""
            host=$1; shift; "$@" & plumb=$!
            until lab exec "$host" test -e /run/lab/changing; do sleep 0.05; done
            kill -9 "$plumb"; wait "$plumb"
            """#
        /// HOST SECONDS COMMAND...; 0 seconds: for good.
        private static let cutWhenChanging = #"""
            host=$1 seconds=$2; shift 2; "$@" & plumb=$!
            until lab exec "$host" test -e /run/lab/changing; do sleep 0.05; done
            lab cut "$host"
            if [ "$seconds" != 0 ]; then sleep "$seconds"; lab plug "$host"; fi
            wait "$plumb"
            """#
    }
}

extension Lab {
    static func eth0(_ fields: String) -> String { spec("NetworkInterface", "interfaces: [eth0], \(fields)") }

    /// An interface as `ip` shows it on the host itself.
    func link(_ host: String, _ name: String) async throws -> Value {
        let outcome = try await lab("exec", host, "/usr/sbin/ip", "-j", "link", "show", name)
        return try Value(json: outcome.output.utf8).arrayValue?.first ?? .null
    }

    func isUp(_ host: String) async throws -> Bool {
        try await link(host, "eth0")["flags"]?.arrayValue?.contains("UP") == true
    }

    /// Flags, addresses and routes, without what counts or passes.
    func network(_ host: String) async throws -> String {
        let script = """
            ip -o addr show dev eth0 scope global | sed 's/ tentative//'; ip -o link show eth0 | cut -d' ' -f1-9
            ip -4 route show table all | sort; ip -6 route show table main | sort
            """
        return try await lab("exec", host, "sh", "-c", script).output
    }

    /// All rules in nft, without counters and times.
    func rules(_ host: String) async throws -> String {
        try await lab("exec", host, "sh", "-c", "iptables-nft-save | grep -v '^#' | sed 's/ \\[[0-9:]*\\]$//'").output
    }

    /// Nothing that would undo, and nothing that it left: at once, or soon.
    func expectNothingArmed(_ host: String, within limit: Duration = .seconds(2), sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let end = ContinuousClock.now + limit
        let script = "ls -A /run/plumb/undo 2>/dev/null; pgrep -f 'undo/.*/[p]rogram'; ls -A /tmp /dev/shm | grep plumb; :"
        while true {
            let left = try await lab("exec", host, "sh", "-c", script).output
            if left.isEmpty { return }
            guard ContinuousClock.now < end else {
                Issue.record("left on \(host): \(left)", sourceLocation: sourceLocation)
                return
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    /// A line of shell before every `ip` on this host.
    func wrapIP(_ host: String, _ line: String) async throws {
        let script = "printf '#!/bin/sh\\n%s\\nexec /usr/sbin/ip \"$@\"\\n' \"$1\" >/usr/local/sbin/ip; chmod 0755 /usr/local/sbin/ip"
        try await lab("exec", host, "sh", "-ec", script, "sh", line)
    }

    /// Makes a change of a link take a while, and say that it has begun.
    func slow(_ host: String, _ change: String, seconds: Int = 1) async throws {
        try await wrapIP(host, "case \"$*\" in *'\(change)') : >/run/lab/changing; sleep \(seconds) ;; esac")
    }
}
