import Foundation
import Testing
import Values

extension LabTests {
    /// What only a whole machine can show: timers of systemd, units bound to devices of udev, Wi-Fi, and reboots. One machine for all of it, as it
    /// takes a while to boot.
    @Suite struct MachineTests {
        /// An answer takes its time without hardware virtualization.
        private static let patient = ["--yes", "--output", "jsonl", "--timeout", "20s"]

        @Test func aConfirmedChangeLeavesNoTimer() async throws {
            let lab = try Lab()
            try await lab.useMachine()
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["box"]) + Lab.eth0("mtu: 1400")]) { source in
                let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "60s"] + Self.patient)
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                #expect(try apply.lines.last?["succeeded"] == 1)
            }
            #expect(try await lab.link("box", "eth0")["mtu"] == 1400)
            try await lab.expectNoUndoOnMachine()
            #expect(try await lab.plumbUnits() == "")
        }

        @Test func aTimerTakesBackWhatCutTheLink() async throws {
            let lab = try Lab()
            try await lab.useMachine()
            let before = try await lab.network("box")
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["box"]) + Lab.eth0("mtu: 1400, flags: {up: false}, persist: true")]) { source in
                let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "10s"] + Self.patient)
                #expect(apply.status == 1)
                let event = try #require(try apply.lines.first { $0["type"] == "rolledBack" }, "\(apply.output) \(apply.errorOutput)")
                #expect(event["address"] == "box/NetworkInterface/eth0")
                #expect(event["message"]?.stringValue?.hasSuffix("It is as it was before.") == true, "\(event)")
                #expect(try apply.lines.last?["succeeded"] == 0, "what is not confirmed is not made to persist")
            }
            #expect(try await lab.network("box") == before)
            #expect(try await lab.undone().contains("undone: box/NetworkInterface/eth0"))
            try await lab.expectNoUndoOnMachine()
            #expect(try await lab.plumbUnits() == "")
        }

        @Test func theTimerNeedsNoPlumb() async throws {
            let lab = try Lab()
            try await lab.useMachine()
            let before = try await lab.network("box")
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["box"]) + Lab.eth0("flags: {up: false}")]) { source in
                let command = lab.commandLine(["apply", source, "--confirm-timeout", "15s"] + Self.patient)
                let killed = try await run(["bash", "-c", Self.killWhenAway, "bash", "box"] + command)
                #expect(killed.status == 137, "\(killed.output) \(killed.errorOutput)")
            }
            // Until it answers again, which nobody but its own timer can bring about.
            #expect(try await run(["bash", "-c", Self.untilThere, "bash", "box"]).status == 0)
            #expect(try await lab.network("box") == before)
            #expect(try await lab.undone().contains("undone: box/NetworkInterface/eth0"), "the change was made")
            try await lab.expectNoUndoOnMachine()
        }

        @Test func aRebootBeforeTheConfirmationIsTheWayBack() async throws {
            let lab = try Lab()
            try await lab.useMachine()
            let data = "\(lab.folder)/data-reboot"
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["box"]) + Lab.eth0("mtu: 1400, persist: true")]) { source in
                // Killed while the change has been made and its step has not yet ended.
                try await lab.lab("exec", "box", "rm", "-f", "/run/changed")
                try await lab.wrapIP("box", "case \"$*\" in *'eth0 mtu 1400') /usr/sbin/ip \"$@\"; : >/run/changed; sleep 60 ;; esac")
                let command = lab.commandLine(["apply", source, "--confirm-timeout", "300s"] + Self.patient, data: data)
                let killed = try await run(["bash", "-c", Self.killWhenChanged, "bash", "box"] + command)
                #expect(killed.status == 137, "\(killed.output) \(killed.errorOutput)")
                #expect(try await lab.link("box", "eth0")["mtu"] == 1400)
                #expect(try await lab.machine("exec", "box", "ls", "/run/plumb/undo").output != "", "it is armed")

                try await lab.lab("exec", "box", "rm", "/usr/local/sbin/ip")
                try await lab.machine("reboot", "box")
                #expect(try await lab.link("box", "eth0")["mtu"] == 1500)
                #expect(try await lab.plumbUnits() == "")
                try await lab.expectNoUndoOnMachine()

                let apply = try await lab.plumb(["apply", source, "--confirm-timeout", "60s"] + Self.patient, data: data)
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                #expect(apply.errorOutput.contains("under way was box/NetworkInterface/eth0"), "\(apply.errorOutput)")
                #expect(try apply.lines.last?["succeeded"] == 2, "\(apply.output)")
            }
            #expect(try await lab.link("box", "eth0")["mtu"] == 1400)
            #expect(try await lab.plumbUnits() == "plumb-interface-eth0.service")
        }

        @Test func whatPersistsOutlivesAReboot() async throws {
            let lab = try Lab()
            try await lab.useMachine()
            try await lab.lab("drift", "box")
            func spec(persist: Bool) -> String {
                Lab.hosts(["box"]) + Lab.spec("NetworkInterface", "interfaces: [eth0], mtu: 1400, persist: \(persist)", name: "cable")
                    + Lab.spec("NetworkInterface", "interfaces: [wlan0], flags: {promiscuous: true}, persist: \(persist)", name: "radio")
            }
            let apply = ["--confirm-timeout", "60s"] + Self.patient
            try await lab.withSpecs(["specs.yaml": spec(persist: true) + Lab.leftovers]) { source in
                let first = try await lab.plumb(["apply", source] + apply)
                #expect(first.status == 0, "\(first.output) \(first.errorOutput)")
                #expect(try first.lines.last?["succeeded"] == 5, "\(first.output)")
                try await lab.lab("drift", "box")

                try await lab.machine("reboot", "box")
                // All of it, the chains too: those are what the kernel had, and go with it.
                let plan = try await lab.plumb(["plan", source, "--detailed-exitcode", "--timeout", "20s", "--output", "json"])
                #expect(plan.status == 0, "\(plan.output) \(plan.errorOutput)")
                #expect(try await lab.link("box", "eth0")["mtu"] == 1400)
                #expect(try await lab.machineIsPromiscuous("wlan0"))

                // Its driver is loaded again: another device, and the same flags.
                try await lab.lab("exec", "box", "sh", "-ec", "modprobe -r mac80211_hwsim; modprobe mac80211_hwsim; udevadm settle")
                try await lab.awaitPromiscuous("wlan0")
            }
            try await lab.withSpecs(["specs.yaml": spec(persist: false)]) { source in
                let second = try await lab.plumb(["apply", source] + apply)
                #expect(second.status == 0, "\(second.output) \(second.errorOutput)")
                #expect(try second.lines.last?["succeeded"] == 2, "\(second.output)")
                #expect(try await lab.plumbUnits() == "")
                #expect(try await lab.machineIsPromiscuous("wlan0"), "only what brings it back is taken away")

                try await lab.machine("reboot", "box")
                #expect(try await lab.link("box", "eth0")["mtu"] == 1500)
                #expect(try await !lab.machineIsPromiscuous("wlan0"))
            }
        }

        /// Port 9 refuses as long as the machine is there: that is its kernel's answer, and costs no login.
        private static let isThere = #"is_there() { timeout 10 bash -c "exec 3<>/dev/tcp/$1/9" 2>&1 | grep -q refused; }"#
        // HOST COMMAND...; each ends with the command's status.
        private static let killWhenAway = #"""
            \#(isThere)
            host=$1; shift; "$@" & plumb=$!
            while is_there "$host"; do sleep 0.2; done
            kill -9 "$plumb"; wait "$plumb"
            """#
        private static let killWhenChanged = #"""
            host=$1; shift; "$@" & plumb=$!
            lab exec "$host" sh -c 'until [ -e /run/changed ]; do sleep 0.2; done'
            kill -9 "$plumb"; wait "$plumb"
            """#
        private static let untilThere = #"""
            \#(isThere)
            until is_there "$1"; do sleep 0.2; done
            """#
    }
}

extension Lab {
    /// A command of the lab that may wait for a boot.
    @discardableResult
    func machine(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) async throws -> Outcome {
        let begun = ContinuousClock.now
        let outcome = try await run(["lab"] + arguments, seconds: 320)
        try #require(outcome.status == 0, "lab \(arguments.joined(separator: " ")): \(outcome.errorOutput)", sourceLocation: sourceLocation)
        if arguments.first != "exec" { print("lab \(arguments.joined(separator: " ")): \((ContinuousClock.now - begun).components.seconds) s") }
        return outcome
    }

    /// The machine `box`, booted if it is not, and without what an earlier test left on it.
    func useMachine() async throws {
        if !FileManager.default.fileExists(atPath: "\(folder)/hosts/box") { try await machine("add", "box", "--like", "machine") }
        try await machine("reset", "box")
        let script = """
            rm -rf /usr/local/sbin/ip /etc/systemd/system/plumb-* /etc/systemd/system/*.wants/plumb-*
            systemctl daemon-reload; journalctl --rotate --vacuum-time=1ms --quiet
            """
        try await machine("exec", "box", "sh", "-c", script)
    }

    /// Nothing that would undo, now or later, and nothing that it left in systemd or among the files.
    func expectNoUndoOnMachine(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let script = """
            (cd /run/plumb 2>/dev/null && ls -A undo 2>/dev/null); ls -d /tmp/*plumb* 2>/dev/null; pgrep -fa '[/]run/plumb/undo'
            ls /run/systemd/transient 2>/dev/null | grep plumb; systemctl list-units --all --plain --no-legend 'plumb-undo*'; :
            """
        for _ in 0..<20 {
            if try await machine("exec", "box", "sh", "-c", script).output.isEmpty { return }
            try await Task.sleep(for: .milliseconds(200))
        }
        let left = try await machine("exec", "box", "sh", "-c", script).output
        if !left.isEmpty { Issue.record("left on the machine: \(left)", sourceLocation: sourceLocation) }
    }

    /// What Plumb made to last: unit files and links to them, by name.
    func plumbUnits() async throws -> String {
        let script = "cd /etc/systemd/system; ls | grep plumb; find . -name '*plumb*' ! -path './plumb-interface-*.service' ! -path './*.wants/*'; :"
        return try await machine("exec", "box", "sh", "-c", script).output.split(separator: "\n").joined(separator: " ")
    }

    /// What the undo told the machine's journal.
    func undone() async throws -> String {
        try await machine("exec", "box", "journalctl", "--boot", "--identifier", "plumb", "--output", "cat", "--no-pager").output
    }

    func machineIsPromiscuous(_ interface: String) async throws -> Bool {
        try await link("box", interface)["flags"]?.arrayValue?.contains("PROMISC") == true
    }

    func awaitPromiscuous(_ interface: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        for _ in 0..<60 {
            if try await machineIsPromiscuous(interface) { return }
            try await Task.sleep(for: .milliseconds(200))
        }
        Issue.record("\(interface) is not promiscuous again", sourceLocation: sourceLocation)
    }
}
