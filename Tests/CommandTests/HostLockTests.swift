import Foundation
import Glibc
import Testing
import Values

extension LabTests {
    /// Two applies at once, from two data directories: as of a laptop and a CI job.
    @Suite struct HostLockTests {
        private static let quick = ["--yes", "--output", "jsonl"]

        @Test func theSecondOneIsToldWhoHasTheHostAndGoesOnElsewhere() async throws {
            let lab = try Lab()
            try await lab.withData { mine, theirs in
                try await lab.withHost("shared") {
                    try await lab.pause("shared", "wlan0 promisc on")
                    try await lab.withSpecs([
                        "first.yaml": Lab.hosts(["shared"]) + Lab.promiscuous, "both.yaml": Lab.hosts(["shared", "pi-1"]) + Lab.promiscuous,
                    ]) { source in
                        let first = try Background(lab.commandLine(["apply", "\(source)/first.yaml"] + Self.quick, data: mine))
                        #expect(try await lab.isChanging("shared"))
                        let plan = try await lab.plumb(["plan", "\(source)/first.yaml", "--output", "json"])
                        #expect(try "\(plan.document["notes"] ?? .null)".contains("shared: is being changed by "), "\(plan.output)")

                        let second = try await lab.plumb(["apply", "\(source)/both.yaml"] + Self.quick, data: theirs)
                        #expect(second.status == 1)
                        let said = try second.message("skipped", "shared/NetworkInterface/wlan0")
                        #expect(
                            said.contains("not started: shared is being changed by ") && said.contains("(pid \(first.pid)) with 'plumb apply"),
                            "\(said)"
                        )
                        #expect(said.contains(/since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/), "\(said)")
                        #expect(try second.lines.last?["succeeded"] == 1 && second.lines.last?["skipped"] == 1, "\(second.output)")

                        try await lab.resume("shared")
                        #expect(first.end() == 0, "\(first.output) \(first.errorOutput)")
                        let again = try await lab.plumb(["apply", "\(source)/both.yaml"] + Self.quick, data: theirs)
                        #expect(again.status == 0, "\(again.output)")
                    }
                    try await lab.expectNotHeld("shared")
                }
            }
            try await lab.lab("reset", "pi-1")
        }

        @Test func withATimeoutItIsWaitedForBeforeAnythingIsPlanned() async throws {
            let lab = try Lab()
            try await lab.withData { mine, theirs in
                try await lab.withHost("awaited") {
                    try await lab.slow("awaited", "wlan0 promisc on", seconds: 2)
                    try await lab.withSpecs(["specs.yaml": Lab.hosts(["awaited"]) + Lab.promiscuous]) { source in
                        let first = try Background(lab.commandLine(["apply", source] + Self.quick, data: mine))
                        #expect(try await lab.isChanging("awaited"))
                        let second = try await lab.plumb(["apply", source, "--lock-timeout", "60s"] + Self.quick, data: theirs)
                        // Nothing is left to do then.
                        #expect(second.status == 0, "\(second.output)")
                        #expect(try second.lines.last?["planned"] == 0, "\(second.output)")
                        #expect(second.errorOutput.contains("awaited: is being changed by "), "\(second.errorOutput)")
                        #expect(first.end() == 0)
                    }
                }
            }
        }

        @Test func aKilledHolderKeepsNobodyOut() async throws {
            let lab = try Lab()
            try await lab.withData { mine, theirs in
                try await lab.withHost("killed") {
                    try await lab.slow("killed", "wlan0 promisc on")
                    try await lab.withSpecs(["specs.yaml": Lab.hosts(["killed"]) + Lab.promiscuous]) { source in
                        let first = try Background(lab.commandLine(["apply", source] + Self.quick, data: mine))
                        #expect(try await lab.isChanging("killed"))
                        first.kill9()
                        // What was under way still ends under the lock.
                        let second = try await lab.plumb(["apply", source, "--lock-timeout", "30s"] + Self.quick, data: theirs)
                        #expect(second.status == 0, "\(second.output) \(second.errorOutput)")
                    }
                    #expect(try await lab.link("killed", "wlan0")["flags"]?.arrayValue?.contains("PROMISC") == true)
                    try await lab.expectNotHeld("killed")
                }
            }
        }

        @Test func aHolderThatIsCutOffAndDiesKeepsNobodyOut() async throws {
            let lab = try Lab()
            try await lab.withData { mine, theirs in
                try await lab.withHost("severed") {
                    try await lab.slow("severed", "wlan0 promisc on", seconds: 2)
                    try await lab.withSpecs(["specs.yaml": Lab.hosts(["severed"]) + Lab.promiscuous]) { source in
                        let first = try Background(lab.commandLine(["apply", source] + Self.quick, data: mine))
                        #expect(try await lab.isChanging("severed"))
                        try await lab.lab("cut", "severed")
                        first.kill9()
                        // Nobody can tell the host, so it is held as long as it would be for a holder who lives.
                        let held = try await lab.lab("exec", "severed", "sh", "-c", "flock -n /run/plumb/lock/host true && echo free; :")
                        #expect(held.output.isEmpty)
                        try await lab.lab("plug", "severed")
                        let second = try await lab.plumb(["apply", source, "--lock-timeout", "110s"] + Self.quick, data: theirs)
                        #expect(second.status == 0, "\(second.output) \(second.errorOutput)")
                    }
                    try await lab.expectNotHeld("severed")
                }
            }
        }

        @Test func whatChangedSinceItWasPlannedIsNotRun() async throws {
            let lab = try Lab()
            try await lab.withData { mine, theirs in
                try await lab.withHost("early") {
                    try await lab.withHost("late") {
                        try await lab.pause("early", "wlan0 promisc on")
                        let hosts = Lab.hosts(["early", "late"])
                        func spec(_ name: String, _ fields: String, after: String = "{}") -> String {
                            Lab.spec("NetworkInterface", fields, name: name, annotations: after).replacing(
                                "hosts: all",
                                with: "hosts: {names: [\(name)]}"
                            )
                        }
                        let first = spec("early", "interfaces: [wlan0], flags: {promiscuous: true}")
                        let second = spec(
                            "late",
                            "interfaces: [wlan0], flags: {promiscuous: true}",
                            after: "{plumb/depends-on: v1/ConfigMap/default/lock-between}"
                        )
                        // Between hosts a dependency counts for each by itself; through an object it counts for all.
                        let between = """
                            ---
                            apiVersion: v1
                            kind: ConfigMap
                            metadata: {name: lock-between, annotations: {plumb/depends-on: NetworkInterface/early}}

                            """
                        let other = spec("late", "interfaces: [wlan0], mtu: 1400")
                        try await lab.withSpecs([
                            "mine.yaml": hosts + Lab.cluster + first + between + second, "theirs.yaml": Lab.hosts(["late"]) + other,
                        ]) { source in
                            let long = try Background(lab.commandLine(["apply", "\(source)/mine.yaml"] + Self.quick, data: mine))
                            #expect(try await lab.isChanging("early"))
                            // Both have planned for 'late'; this one changes it.
                            let short = try await lab.plumb(["apply", "\(source)/theirs.yaml"] + Self.quick, data: theirs)
                            #expect(short.status == 0, "\(short.output) \(short.errorOutput)")
                            try await lab.resume("early")
                            #expect(long.end() == 1)
                            let said = try Outcome(status: 1, output: long.output, errorOutput: "").message("skipped", "late/NetworkInterface/wlan0")
                            #expect(said.contains("it was changed by ") && said.hasSuffix("after it was planned. Run it again"), "\(said)")
                            #expect(try await lab.link("late", "wlan0")["flags"]?.arrayValue?.contains("PROMISC") == false)

                            let again = try await lab.plumb(["apply", "\(source)/mine.yaml"] + Self.quick, data: mine)
                            #expect(again.status == 0, "\(again.output) \(again.errorOutput)")
                            _ = try await lab.request("DELETE", "/api/v1/namespaces/default/configmaps/lock-between")
                        }
                    }
                }
            }
        }

        @Test func withoutTheRightToLockNothingIsChanged() async throws {
            let lab = try Lab()
            try await lab.withHost("narrower") {
                try await lab.lab("exec", "narrower", "sed", "-i", "/plumb/d", "/etc/sudoers")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["narrower"], user: "restricted") + Lab.promiscuous]) { source in
                    let apply = try await lab.plumb(["apply", source] + Self.quick)
                    #expect(apply.status == 1)
                    let said = try apply.message("skipped", "narrower/NetworkInterface/wlan0")
                    #expect(said.contains("not started: 'restricted' may not lock narrower: sudo: a password is required"), "\(said)")
                    #expect(try await lab.link("narrower", "wlan0")["flags"]?.arrayValue?.contains("PROMISC") == false)
                    // The line that is missing, pasted, is enough.
                    let line = try #require(said.split(separator: "\n").first { $0.contains("NOPASSWD") })
                    try await lab.lab("exec", "narrower", "sh", "-c", "echo '\(line)' >>/etc/sudoers; visudo -c")
                    let again = try await lab.plumb(["apply", source] + Self.quick)
                    #expect(again.status == 0, "\(again.output) \(again.errorOutput)")
                }
                try await lab.expectNotHeld("narrower")
            }
        }
    }
}

extension Outcome {
    /// Of the event of this type for this address; empty where there is none.
    func message(_ type: String, _ address: String) throws -> String {
        try lines.first { $0["type"]?.stringValue == type && $0["address"]?.stringValue == address }?["message"]?.stringValue ?? ""
    }
}

extension Lab {
    /// Two data directories, gone when `body` ends.
    func withData(_ body: (_ mine: String, _ theirs: String) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-data-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        try await body("\(folder.path)/mine", "\(folder.path)/theirs")
    }

    /// Makes a change of a link wait for `resume`.
    func pause(_ host: String, _ change: String) async throws {
        let wait = ": >/run/lab/changing; until [ -e /run/lab/resumed ]; do sleep 0.1; done"
        try await wrapIP(host, "case \"$*\" in *'\(change)') \(wait) ;; esac")
    }

    func resume(_ host: String) async throws { try await lab("exec", host, "sh", "-c", ": >/run/lab/resumed") }

    /// Waits until the change that `slow` or `pause` is about is under way.
    func isChanging(_ host: String) async throws -> Bool {
        try await run(["lab", "exec", host, "sh", "-c", "until [ -e /run/lab/changing ]; do sleep 0.05; done"]).status == 0
    }

    /// Neither the lock nor what keeps it, at once or soon.
    func expectNotHeld(_ host: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let script = """
            tries=0
            until left=$(flock -n /run/plumb/lock/host true || echo locked; pgrep -f '[f]lock -n -E'; ls /tmp /dev/shm | grep plumb); [ -z "$left" ]; do
                tries=$((tries + 1))
                [ "$tries" -lt 50 ] || { echo "$left"; exit; }
                sleep 0.1
            done
            """
        let left = try await lab("exec", host, "sh", "-c", script).output
        #expect(left.isEmpty, "left on \(host): \(left)", sourceLocation: sourceLocation)
    }
}
