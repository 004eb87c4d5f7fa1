import Foundation
import Testing
import Values

extension LabTests {
    /// The brake, on real hosts and objects.
    @Suite struct PauseTests {
        private static let chainAfterInterface = Lab.spec(
            "IptablesChain",
            "table: nat, chains: [OLD_CILIUM_POST_nat]",
            annotations: "{plumb/depends-on: NetworkInterface/networkinterface}"
        )
        private static let objects = "/api/v1/namespaces/default/configmaps"

        private func pause(_ data: String, _ arguments: String...) async throws {
            let outcome = try await run([CommandTests.plumb, "pause", "--data-dir", data] + arguments)
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
        }

        private func resume(_ data: String, _ arguments: String...) async throws {
            let outcome = try await run([CommandTests.plumb, "resume", "--data-dir", data] + arguments)
            #expect(outcome.status == 0, "\(outcome.errorOutput)")
        }

        @Test func stopsARunningApplyBetweenTwoActions() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/braked"
            try await lab.withHost("braked", drift: true) {
                try await lab.slow("braked", "wlan0 promisc on", seconds: 3)
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["braked"]) + Lab.promiscuous + Self.chainAfterInterface]) { source in
                    let apply = try Background(lab.commandLine(["apply", source, "--yes", "--output", "jsonl"], data: data))
                    try await lab.lab("exec", "braked", "sh", "-c", "until test -e /run/lab/changing; do sleep 0.05; done")
                    try await pause(data, "braked/*", "--reason", "stop it")
                    #expect(apply.end() == 1)
                    let events = try apply.output.split(separator: "\n").map { try Value(json: $0.utf8) }
                    func messages(_ type: String) -> [String: String] {
                        events.filter { $0["type"]?.stringValue == type }.reduce(into: [:]) {
                            $0[$1["address"]?.stringValue ?? ""] = $1["message"]?.stringValue ?? ""
                        }
                    }
                    #expect(
                        messages("succeeded").keys.sorted() == ["braked/NetworkInterface/wlan0"],
                        "what was under way was finished: \(apply.output)"
                    )
                    let skipped = messages("skipped")["braked/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat"] ?? ""
                    #expect(
                        skipped.hasPrefix("not started: paused by ") && skipped.hasSuffix(": stop it. To go on: plumb resume 'braked/*'"),
                        "\(skipped)"
                    )
                    let rules = try await lab.lab("exec", "braked", "iptables-nft-save")
                    #expect(rules.output.contains(":OLD_CILIUM_POST_nat"))

                    // The next one does not even begin, and says so in its plan.
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"], data: data)
                    #expect(plan.status == 2)
                    #expect(try plan.document.problems == ["braked/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat held"], "\(plan.output)")
                    #expect(
                        try plan.document.message(of: "braked").contains(": stop it. It is there and declared absent. To go on: "),
                        "\(plan.output)"
                    )
                    let held = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(held.status == 1 && held.output.contains("paused by "), "\(held.output)")

                    try await resume(data, "braked/*")
                    let next = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(next.status == 0, "\(next.output) \(next.errorOutput)")
                    let runs =
                        try await run([CommandTests.plumb, "history", "--output", "json", "--data-dir", data]).document["runs"]?.arrayValue ?? []
                    #expect(runs.map { $0["command"] } == ["apply", "resume", "pause", "apply"])
                }
            }
        }

        @Test func endsWithItsTimeAndAHostCanBePausedInItsSpec() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/for-a-while"
            try await lab.withHost("for-a-while", drift: true) {
                let hosts = Lab.hosts(["for-a-while"])
                try await lab.withSpecs(["specs.yaml": hosts + Lab.promiscuous]) { source in
                    try await pause(data, "--host", "for-a-while", "--reason", "a moment", "--for", "5s")
                    let first = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(
                        first.status == 1 && first.output.contains(" UTC: a moment. It differs in flags.promiscuous (false → true). "),
                        "\(first.output)"
                    )
                    var apply = first
                    var rounds = 0
                    while apply.status != 0, rounds < 120 {
                        rounds += 1
                        apply = try await lab.plumb(["apply", source, "--yes"], data: data)
                    }
                    #expect(apply.status == 0 && apply.output.contains("1 succeeded"), "\(apply.output) \(apply.errorOutput)")

                    try await lab.lab("exec", "for-a-while", "ip", "link", "set", "wlan0", "promisc", "off")
                    let paused = hosts.replacing("{name: lab}", with: "{name: lab, annotations: {plumb/pause: \"moved\"}}")
                    try Data((paused + Lab.promiscuous).utf8).write(to: URL(fileURLWithPath: "\(source)/specs.yaml"))
                    let plan = try await lab.plumb(["plan", source, "--output", "json"], data: data)
                    #expect(try plan.document.problems == ["for-a-while/NetworkInterface/wlan0 held"])
                    let message = try plan.document.message(of: "for-a-while")
                    #expect(message.hasPrefix("paused by the annotation plumb/pause in the specs (\(source)/specs.yaml:3:"), "\(message)")
                }
            }
        }

        @Test func theAnnotationOnTheLiveObjectHoldsIt() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/annotated"
            let object = "\(Self.objects)/braked"
            func spec(_ value: String) -> String {
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: braked, annotations: {example.com/a: \"1\"}}\ndata: {a: \"\(value)\"}\n"
            }
            func annotate(_ annotations: String, _ rest: String = "") async throws {
                try await lab.request(
                    "PATCH",
                    "\(object)?fieldManager=kubectl-annotate",
                    "{\"metadata\":{\"annotations\":\(annotations)}\(rest)}",
                    type: "application/merge-patch+json"
                )
            }
            try await lab.withSpecs(["cluster.yaml": Lab.cluster, "specs.yaml": spec("1")]) { source in
                let file = URL(fileURLWithPath: "\(source)/specs.yaml")
                let made = try await lab.plumb(["apply", source, "--yes"], data: data)
                #expect(made.status == 0, "\(made.output) \(made.errorOutput)")

                // In sync with it; an instruction that is no pause survives our apply.
                try await annotate(#"{"plumb/pause":"looking into it","plumb/note":"x"}"#)
                let plan = try await lab.plumb(["plan", source, "--detailed-exitcode"], data: data)
                #expect(plan.status == 0, "the annotation is no drift: \(plan.output)")

                try await annotate("{}", #","data":{"a":"2"}"#)
                let held = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"], data: data)
                #expect(held.status == 2)
                #expect(try held.document.problems == ["home/v1/ConfigMap/default/braked held"])
                let message = try held.document.message(of: "home")
                #expect(message.hasPrefix("paused by the object's annotation plumb/pause (by kubectl-annotate at 2"), "\(message)")
                let advice =
                    "): looking into it. It differs in data[\"a\"] (2 → 1). To go on: kubectl annotate configmap braked -n default plumb/pause-"
                #expect(message.hasSuffix(advice), "\(message)")
                #expect(try await lab.plumb(["apply", source, "--yes"], data: data).status == 1)
                #expect(try await lab.request("GET", object)[path: "data", "a"] == "2")

                // Nor is it deleted, or given up.
                try FileManager.default.removeItem(at: file)
                let prune = try await lab.plumb(["apply", source, "--yes"], data: data)
                #expect(prune.status == 1 && prune.output.contains("paused by the object's annotation"), "\(prune.output)")
                try Data(spec("1").utf8).write(to: file)

                try await annotate(#"{"plumb/pause":null}"#)
                let next = try await lab.plumb(["apply", source, "--yes"], data: data)
                #expect(next.status == 0, "\(next.output) \(next.errorOutput)")
                let live = try await lab.request("GET", object)
                #expect(live[path: "data", "a"] == "1" && live[path: "metadata", "annotations", "plumb/note"] == "x")

                // A pause holds what release would do as well.
                try await pause(data, "home", "--reason", "not now")
                let kept = try await lab.plumb(["release", "home/v1/ConfigMap/default/braked", source, "--yes"], data: data)
                #expect(kept.status == 1 && kept.output.contains("paused by "), "\(kept.output) \(kept.errorOutput)")
                try await resume(data, "home")
                let released = try await lab.plumb(["release", "home/v1/ConfigMap/default/braked", source, "--yes"], data: data)
                #expect(released.status == 0 && released.output.contains("Given up: home/v1/ConfigMap/default/braked."), "\(released.output)")
            }
            try await lab.request("DELETE", object)
        }
    }
}
