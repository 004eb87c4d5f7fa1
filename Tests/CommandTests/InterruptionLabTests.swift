import Foundation
import Glibc
import Testing
import Values

extension LabTests {
    /// An apply that is stopped by a person, or goes no further than it was told to.
    @Suite struct InterruptionLabTests {
        /// The interface takes a while; the chain waits for it.
        private static func specs(_ host: String) -> String {
            let after = #"{plumb/depends-on: "NetworkInterface/networkinterface"}"#
            return Lab.hosts([host]) + Lab.promiscuous
                + Lab.spec("IptablesChain", "table: nat, chains: [OLD_CILIUM_POST_nat]", annotations: after)
        }

        @Test(arguments: [SIGINT, SIGTERM])
        func onceFinishesWhatIsUnderWay(signal: Int32) async throws {
            let lab = try Lab()
            try await lab.withHost("once", drift: true) {
                try await lab.slow("once", seconds: 2)
                try await lab.withSpecs(["specs.yaml": Self.specs("once")]) { source in
                    let data = "\(source)/.data"
                    let apply = try Background(lab.commandLine(["apply", source, "--yes"], data: data))
                    try await lab.untilChanging("once")
                    kill(apply.pid, signal)
                    #expect(apply.end() == 1)
                    let expected = """

                        finishing what is under way; interrupt again to stop at once
                            under way: once/NetworkInterface/wlan0
                            not started: once/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat
                            To go on, apply again: everything is observed anew.

                        Interrupted: 1 change was not made. To go on, apply again: everything is observed anew.

                        """
                    #expect(apply.errorOutput.hasSuffix(expected), "\(apply.errorOutput)")
                    #expect(apply.output.contains("✓ once/NetworkInterface/wlan0\n"))
                    #expect(apply.output.contains("OLD_CILIUM_POST_nat: skipped, interrupted before it was started\n"), "\(apply.output)")
                    #expect(apply.output.contains("Apply: 1 succeeded, 0 failed, 1 skipped."))
                    let history = try await run([plumb, "history", "1", "--output", "json", "--data-dir", data]).document
                    #expect(history[path: "run", "outcome"] == "incomplete" && history[path: "run", "counts", "skipped"] == 1)
                    #expect(history[path: "run", "counts", "open"] == 0)

                    let next = try await lab.plumb(["apply", source, "--yes", "--output", "jsonl"], data: data)
                    #expect(next.status == 0 && !next.errorOutput.contains("ended without a word"), "\(next.output) \(next.errorOutput)")
                    #expect(try next.lines.words == ["once/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat succeeded"])
                }
            }
        }

        @Test(arguments: [SIGINT, SIGTERM])
        func twiceStopsAtOnceAndTheNextRunKnows(signal: Int32) async throws {
            let lab = try Lab()
            try await lab.withHost("twice", drift: true) {
                try await lab.slow("twice", seconds: 20)
                try await lab.withSpecs(["specs.yaml": Self.specs("twice")]) { source in
                    let data = "\(source)/.data"
                    let apply = try Background(lab.commandLine(["apply", source, "--yes"], data: data))
                    try await lab.untilChanging("twice")
                    kill(apply.pid, signal)
                    #expect(try await apply.waits { $0.errorOutput.contains("interrupt again") })
                    let second = ContinuousClock.now
                    kill(apply.pid, signal)
                    #expect(apply.end() == 130)
                    #expect(ContinuousClock.now - second < .seconds(10), "it did not wait for the step")
                    #expect(
                        apply.errorOutput.contains(
                            "\nstopped at once\n    under way: twice/NetworkInterface/wlan0\n"
                                + "    not started: twice/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat\n"
                        ),
                        "\(apply.errorOutput)"
                    )

                    try await lab.lab("exec", "twice", "rm", "/usr/local/sbin/ip")
                    let next = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(next.status == 0, "\(next.output) \(next.errorOutput)")
                    #expect(
                        next.errorOutput.contains("(pid \(apply.pid)) ended without a word; under way was twice/NetworkInterface/wlan0\n"),
                        "\(next.errorOutput)"
                    )
                    #expect(try await lab.plumb(["plan", source, "--detailed-exitcode"], data: data).status == 0)
                    let runs = try await run([plumb, "history", "--output", "json", "--data-dir", data]).document["runs"]?.arrayValue ?? []
                    #expect(runs.map { $0["outcome"] } == ["complete", "interrupted"])
                }
            }
        }

        @Test func twiceLeavesTheUndoArmed() async throws {
            let lab = try Lab()
            try await lab.withHost("armed") {
                try await lab.slow("armed", "mtu 1400")
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["armed"]) + Lab.eth0("mtu: 1400")]) { source in
                    let apply = try Background(lab.commandLine(["apply", source, "--yes", "--confirm-timeout", "5s"]))
                    try await lab.untilChanging("armed")
                    kill(apply.pid, SIGINT)
                    #expect(try await apply.waits { $0.errorOutput.contains("interrupt again") })
                    kill(apply.pid, SIGINT)
                    #expect(apply.end() == 130)
                    try await lab.lab("exec", "armed", "sh", "-c", "test -n \"$(ls /run/plumb/undo)\"")
                    try await lab.expectNothingArmed("armed", within: .seconds(20))
                    #expect(try await lab.link("armed", "eth0")["mtu"] == 1500, "the host took it back")
                    try await lab.lab("exec", "armed", "rm", "/usr/local/sbin/ip")
                    let next = try await lab.plumb(["apply", source, "--yes"])
                    #expect(next.status == 0 && next.errorOutput.contains("ended without a word"), "\(next.output) \(next.errorOutput)")
                }
            }
        }

        // MARK: Budgets

        @Test func theRestWaitsForTheCanary() async throws {
            let lab = try Lab()
            try await withThree(lab) { source in
                try await lab.wrapIP("bud-1", "case \"$*\" in *'promisc on') echo 'RTNETLINK answers: no' >&2; exit 2 ;; esac")
                let failed = try await lab.plumb(["apply", source, "--yes", "--canary", "1", "--output", "jsonl"])
                #expect(failed.status == 1)
                #expect(try failed.lines.words == [1, 2, 3].map { "bud-\($0)/NetworkInterface/wlan0 \($0 == 1 ? "failed" : "skipped")" })
                let skipped = try failed.lines.first { $0["type"] == "skipped" }?["message"]
                #expect(skipped == "not started, since bud-1/NetworkInterface/wlan0 of a canary did not succeed (--canary)")
                for host in ["bud-2", "bud-3"] { #expect(try await !lab.isPromiscuous(host)) }

                try await lab.lab("exec", "bud-1", "rm", "/usr/local/sbin/ip")
                let good = try await lab.plumb(["apply", source, "--yes", "--canary", "1", "--output", "jsonl"])
                #expect(good.status == 0, "\(good.output) \(good.errorOutput)")
                let events = try good.lines.steps
                #expect(events.prefix(2) == ["started bud-1", "succeeded bud-1"] && events.count == 6, "\(events)")
            }
        }

        @Test(arguments: ["1", "34%"])
        func oneHostAtATime(share: String) async throws {
            let lab = try Lab()
            try await withThree(lab) { source in
                let apply = try await lab.plumb(["apply", source, "--yes", "--max-unavailable", share, "--output", "jsonl"])
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                let events = try apply.lines.steps
                #expect(events == [1, 2, 3].flatMap { ["started bud-\($0)", "succeeded bud-\($0)"] })
            }
        }

        @Test func enoughFailuresEndIt() async throws {
            let lab = try Lab()
            try await withThree(lab) { source in
                for host in ["bud-1", "bud-2"] { try await lab.wrapIP(host, "case \"$*\" in *'promisc on') exit 2 ;; esac") }
                let apply = try await lab.plumb(
                    ["apply", source, "--yes", "--max-unavailable", "1", "--max-failures", "1", "--output", "jsonl"]
                )
                #expect(apply.status == 1)
                #expect(try apply.lines.words == [1, 2, 3].map { "bud-\($0)/NetworkInterface/wlan0 \($0 == 3 ? "skipped" : "failed")" })
                #expect(apply.output.contains("not started, since 2 actions failed (--max-failures 1)"), "\(apply.output)")
            }
        }

        private func withThree(_ lab: Lab, _ body: (_ source: String) async throws -> Void) async throws {
            try await lab.withHost("bud-1") {
                try await lab.withHost("bud-2") {
                    try await lab.withHost("bud-3") {
                        try await lab.withSpecs(["specs.yaml": Lab.hosts(["bud-1", "bud-2", "bud-3"]) + Lab.promiscuous]) { try await body($0) }
                    }
                }
            }
        }
    }
}

extension Lab {
    /// Makes the change of wlan0 take so long, and say that it has begun.
    fileprivate func slow(_ host: String, seconds: Int) async throws {
        try await wrapIP(host, "case \"$*\" in *'wlan0 promisc on') : >/run/lab/changing; sleep \(seconds) ;; esac")
    }

    fileprivate func untilChanging(_ host: String) async throws {
        try await lab("exec", host, "sh", "-c", "until test -e /run/lab/changing; do sleep 0.05; done")
    }
}

extension [Value] {
    /// What began and ended in which order, as `TYPE TARGET`.
    fileprivate var steps: [String] {
        compactMap { event -> String? in
            guard let type = event["type"]?.stringValue, ["started", "succeeded"].contains(type) else { return nil }
            return "\(type) \(event["address"]?.stringValue?.prefix { $0 != "/" } ?? "")"
        }
    }
}
