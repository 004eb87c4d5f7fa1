import Foundation
import Glibc
import Testing
import Values

extension LabTests {
    /// What a real apply leaves in the journal, also when it is killed or its disk fills up.
    @Suite struct JournalTests {
        private static let namespace = "/api/v1/namespaces/journal"

        @Test func tellsWhatWasDone() async throws {
            let lab = try Lab()
            try await withData { data in
                try await lab.withHost("told", drift: true) {
                    try await lab.withSpecs(["specs.yaml": Lab.hosts(["told"]) + Lab.promiscuous + Lab.leftovers]) { source in
                        let apply = try await run(
                            lab.commandLine(["apply", source, "--yes"], data: data),
                            environment: ["SSH_CONNECTION": "192.0.2.5 50000 192.0.2.1 22"]
                        )
                        #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                        let nothing = try await lab.plumb(["apply", source, "--yes"], data: data)
                        #expect(nothing.status == 0, "\(nothing.errorOutput)")

                        let list = try await run([plumb, "history", "--data-dir", data])
                        #expect(list.status == 0 && list.errorOutput.isEmpty)
                        let lines = list.output.split(separator: "\n")
                        #expect(lines.count == 2, "what changed nothing is no run: \(list.output)")
                        #expect(lines.last?.contains("apply \(source)  complete  2 succeeded, 0 failed") == true, "\(list.output)")

                        let text = try await run([plumb, "history", "1", "--data-dir", data])
                        for part in [
                            "Run 1: apply \(source), complete", "logged in from 192.0.2.5", "✓ told/NetworkInterface/wlan0: update, succeeded, ",
                            "flags.promiscuous: false → true", "$ ", "ip link set dev wlan0 promisc on",
                        ] { #expect(text.output.contains(part), "\(part) in \(text.output)") }

                        let json = try await run([plumb, "history", "1", "--output", "json", "--data-dir", data]).document
                        let record = try #require(json["run"])
                        #expect(record["id"] == 1 && record["command"] == "apply" && record["outcome"] == "complete" && record["from"] == "192.0.2.5")
                        #expect(record[path: "counts", "succeeded"] == 2 && record["planID"]?.stringValue?.count == 16)
                        let action = try #require(record["actions"]?.arrayValue?.first { $0["address"] == "told/NetworkInterface/wlan0" })
                        #expect(action["fields"] == [["path": "flags.promiscuous", "observed": false, "desired": true]])
                        #expect(action["outcome"] == "succeeded" && action["started"]?.stringValue?.hasSuffix("Z") == true)
                    }
                }
            }
        }

        @Test func holdsNoSecret() async throws {
            let lab = try Lab()
            let canary = "canary-\(UUID().uuidString)"
            let secret = """
                ---
                apiVersion: v1
                kind: Secret
                metadata: {name: journal-canary}
                stringData: {password: \(canary)}

                """
            try await withData { data in
                try await lab.withSpecs(["specs.yaml": Lab.cluster + secret]) { source in
                    let said = try await lab.plumb(["apply", source, "--yes", "--verbose"], data: data)
                    #expect(said.status == 0, "\(said.output) \(said.errorOutput)")
                    let history = try await run([plumb, "history", "1", "--data-dir", data])
                    #expect(history.output.contains("(sensitive)"), "\(history.output)")
                    let json = try await run([plumb, "history", "1", "--output", "json", "--data-dir", data])
                    var texts = [said.output, said.errorOutput, history.output, json.output].map { Data($0.utf8) }
                    for name in try FileManager.default.contentsOfDirectory(atPath: data) where name != "ssh-config" {
                        texts.append(try Data(contentsOf: URL(fileURLWithPath: "\(data)/\(name)")))
                    }
                    for text in texts {
                        #expect(text.range(of: Data(canary.utf8)) == nil)
                        #expect(text.range(of: Data(Data(canary.utf8).base64EncodedString().utf8)) == nil)
                    }
                }
            }
            try await lab.request("DELETE", "/api/v1/namespaces/default/secrets/journal-canary")
        }

        @Test func afterAKillTheNextApplySaysWhatWasUnderWayAndGoesOn() async throws {
            let lab = try Lab()
            try await withData { data in
                var noticed = 0
                for round in 0..<6 {
                    try await lab.withSpecs(["specs.yaml": Lab.cluster + Self.configMaps(200, round: round)]) { source in
                        let killed = try Background(lab.commandLine(["apply", source, "--yes", "--output", "jsonl"], data: data))
                        #expect(try await killed.waits { $0.output.contains(#""started""#) })
                        try await Task.sleep(for: .milliseconds(Int.random(in: 0...300)))
                        killed.kill9()
                        let next = try await lab.plumb(["apply", source, "--yes"], data: data)
                        #expect(next.status == 0, "\(next.output) \(next.errorOutput)")
                        if next.errorOutput.contains("(pid \(killed.pid)) ended without a word; ") { noticed += 1 }
                        let again = try await lab.plumb(["plan", source, "--detailed-exitcode"], data: data)
                        #expect(again.status == 0, "\(again.output)")
                    }
                }
                #expect(noticed >= 4, "most are killed before their end: \(noticed)")
                let runs = try await run([plumb, "history", "--output", "json", "--data-dir", data]).document["runs"]?.arrayValue ?? []
                #expect(runs.allSatisfy { $0["outcome"]?.stringValue != nil })
                #expect(runs.count { $0["outcome"] == "interrupted" } == noticed)
            }
            try await Self.remove(lab)
        }

        @Test func aJournalLostMidwayStopsTheApply() async throws {
            let lab = try Lab()
            try await withData(size: "24m") { data in
                try await lab.withSpecs(["specs.yaml": Lab.cluster + Self.configMaps(400, round: 0)]) { source in
                    let apply = try Background(lab.commandLine(["apply", source, "--yes", "--output", "jsonl"], data: data))
                    #expect(try await apply.waits { $0.output.contains(#""started""#) })
                    Self.fill(data)
                    #expect(apply.end() == 1)
                    #expect(
                        apply.errorOutput.contains("disk is full; what was under way was finished, nothing new was started"),
                        "\(apply.errorOutput)"
                    )
                    let events = try apply.output.split(separator: "\n").map { try Value(json: $0.utf8) }
                    func count(_ type: String) -> Int { events.count { $0["type"]?.stringValue == type } }
                    #expect(count("started") == count("succeeded") && count("failed") == 0)
                    #expect(count("succeeded") + count("skipped") == count("planned"))
                    #expect(events.contains { $0["message"]?.stringValue?.hasPrefix("not started: the journal") == true })
                    // What was reported is what is so.
                    let live = try await lab.request("GET", "\(Self.namespace)/configmaps?labelSelector=journal")["items"]?.arrayValue?.count ?? 0
                    let succeeded = events.count { $0["type"] == "succeeded" && $0["address"]?.stringValue?.contains("/ConfigMap/") == true }
                    #expect(live == succeeded)

                    let full = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(full.status == 1 && full.errorOutput.contains("nothing was c"), "\(full.errorOutput)")
                    unlink("\(data)/filler")
                    let next = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(next.status == 0 && next.errorOutput.contains("ended without a word"), "\(next.output) \(next.errorOutput)")
                }
            }
            try await Self.remove(lab)
        }

        @Test func aReadOnlyDataDirectoryStopsAnApplyAndNoPlan() async throws {
            let lab = try Lab()
            try await withData(size: "1m") { data in
                #expect(try await run(["mount", "-o", "remount,ro", data]).status == 0)
                try await lab.withSpecs(["specs.yaml": Lab.cluster + Self.configMaps(1, round: 0)]) { source in
                    let plan = try await lab.plumb(["plan", source], data: data)
                    #expect(plan.status == 0 && plan.output.contains("+ v1/ConfigMap/journal/c0"), "\(plan.output) \(plan.errorOutput)")
                    let apply = try await lab.plumb(["apply", source, "--yes"], data: data)
                    #expect(apply.status == 1 && apply.output.isEmpty)
                    #expect(apply.errorOutput.contains("can't be written: Read-only file system; nothing was contacted"))
                }
            }
        }

        private static func configMaps(_ count: Int, round: Int) -> String {
            (0..<count).reduce("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: journal}\n") { text, number in
                text + """
                    ---
                    apiVersion: v1
                    kind: ConfigMap
                    metadata: {name: c\(number), namespace: journal, labels: {journal: "yes"}}
                    data: {round: "\(round)"}

                    """
            }
        }

        /// The lab has no controller that would end the namespace, so that stays.
        private static func remove(_ lab: Lab) async throws {
            try await lab.request("DELETE", "\(namespace)/configmaps?labelSelector=journal")
        }

        private static func fill(_ folder: String) {
            let descriptor = open("\(folder)/filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            let block = Array(repeating: UInt8(0), count: 4096)
            while write(descriptor, block, block.count) > 0 {}
            close(descriptor)
        }

        /// A data directory of one test's own, on a small disk of its own where `size` says how small.
        private func withData(size: String? = nil, _ body: (_ data: String) async throws -> Void) async throws {
            let data = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-journal-\(UUID().uuidString)").path
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            func end() async throws {
                if size != nil { _ = try await run(["umount", "--lazy", data]) }
                try? FileManager.default.removeItem(atPath: data)
            }
            do {
                if let size {
                    #expect(try await run(["mount", "-t", "tmpfs", "-o", "size=\(size),mode=0700", "tmpfs", data]).status == 0)
                }
                try await body(data)
                try await end()
            } catch {
                try await end()
                throw error
            }
        }
    }
}
