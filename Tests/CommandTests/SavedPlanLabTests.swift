import Foundation
import Testing
import Values

extension LabTests {
    /// Plans that were kept in a file, and a world that did not wait.
    @Suite struct SavedPlanLabTests {
        private static func chain(_ host: String) -> String { "\(host)/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat" }

        @Test func anApplyOfAPlanThatTheWorldHasLeftBehindIsRefusedWithTheNewDiff() async throws {
            let lab = try Lab()
            try await withPlan(of: ["kept-1", "kept-2"], lab) { plan in
                let info = try FileManager.default.attributesOfItem(atPath: plan.file)
                #expect((info[.posixPermissions] as? NSNumber)?.int16Value == 0o600)
                #expect(plan.made.errorOutput.contains("To carry it out: plumb apply \(plan.file)"), "\(plan.made.errorOutput)")
                // By hand: one rule more here, what was wanted there.
                try await lab.lab("exec", "kept-1", "iptables-nft", "-t", "nat", "-A", "OLD_CILIUM_POST_nat", "-j", "RETURN")
                try await lab.lab("exec", "kept-2", "ip", "link", "set", "dev", "wlan0", "promisc", "on")
                let before = try await lab.rules("kept-1")

                let refused = try await lab.plumb(["apply", plan.file, "--yes"])
                #expect(refused.status == 1)
                #expect(
                    refused.output.hasPrefix(
                        """
                        Stale: planned, and no longer what would be done
                          ≠ \(Self.chain("kept-1")): what is live there has changed since
                                delete
                              - state: present (2 rules) → absent
                              + state: present (3 rules) → absent

                        """
                    ),
                    "\(refused.output)"
                )
                #expect(refused.output.contains("No longer needed: is as declared already\n  = kept-2/NetworkInterface/wlan0\n"))
                #expect(refused.output.contains("Apply: 0 succeeded, 0 failed, 2 skipped, 1 stale, 1 no longer needed.\n"))
                #expect(refused.errorOutput.contains("error: 1 of the plan's 4 changes is stale; nothing was changed"), "\(refused.errorOutput)")
                #expect(try await lab.rules("kept-1") == before)
                #expect(try await !lab.isPromiscuous("kept-1"))

                let skipped = try await lab.plumb(["apply", plan.file, "--yes", "--on-stale", "skip", "--output", "jsonl"])
                #expect(skipped.status == 1, "something is not so")
                #expect(
                    try skipped.lines.words == [
                        "\(Self.chain("kept-1")) stale", "kept-1/NetworkInterface/wlan0 succeeded",
                        "\(Self.chain("kept-2")) succeeded", "kept-2/NetworkInterface/wlan0 unneeded",
                    ]
                )
                #expect(try skipped.lines.last?["stale"] == 1 && skipped.lines.last?["unneeded"] == 1 && skipped.lines.last?["succeeded"] == 2)
                #expect(try await lab.rules("kept-1") == before, "what is stale was not touched")
                #expect(try await lab.isPromiscuous("kept-1"))

                // What was done is not done again, and once nothing is stale it is a success.
                try await lab.lab("exec", "kept-1", "iptables-nft", "-t", "nat", "-D", "OLD_CILIUM_POST_nat", "-j", "RETURN")
                let rest = try await lab.plumb(["apply", plan.file, "--yes"])
                #expect(rest.status == 0, "\(rest.output) \(rest.errorOutput)")
                #expect(rest.output.contains("Apply: 1 succeeded, 0 failed, 0 skipped, 3 no longer needed. Everything is as declared."))
                let nothing = try await lab.plumb(["apply", plan.file])
                #expect(nothing.status == 0, "nothing to do needs no answer: \(nothing.output) \(nothing.errorOutput)")
            }
        }

        @Test func onlyWhatWasPlannedIsRun() async throws {
            let lab = try Lab()
            try await withPlan(of: ["only-1"], options: ["--target", "only-1/*"], lab) { plan in
                #expect(try Value(json: Data(contentsOf: URL(fileURLWithPath: plan.file)))["selection"] == ["only-1/*"])
                // Something else is wrong by now.
                try await lab.lab("exec", "only-1", "ip", "link", "set", "dev", "wlan0", "multicast", "off")
                let apply = try await lab.plumb(["apply", plan.file, "--yes", "--on-stale", "skip"])
                #expect(apply.status == 1)
                #expect(apply.output.contains("≠ only-1/NetworkInterface/wlan0: "), "\(apply.output)")
                #expect(apply.output.contains("+ flags.multicast: false → true"), "\(apply.output)")
                #expect(try await !lab.isPromiscuous("only-1"))

                try await lab.lab("exec", "only-1", "ip", "link", "set", "dev", "wlan0", "multicast", "on", "promisc", "on")
                let planned = try await lab.plumb(["plan", plan.source, "--out", plan.file])
                #expect(planned.status == 0 && planned.errorOutput.contains("It has nothing to apply."))
                try await lab.lab("exec", "only-1", "ip", "link", "set", "dev", "wlan0", "promisc", "off")
                let unplanned = try await lab.plumb(["apply", plan.file, "--yes"])
                #expect(unplanned.status == 1)
                #expect(
                    unplanned.output.contains("Not part of the plan, so not run: plan again to see it in full\n  ? only-1/NetworkInterface/wlan0\n")
                )
                #expect(unplanned.output.contains("0 skipped, 1 not part of the plan."), "\(unplanned.output)")
                #expect(try await !lab.isPromiscuous("only-1"))
            }
        }

        @Test func itCanBeAppliedElsewhere() async throws {
            let lab = try Lab()
            try await withPlan(of: ["moved"], lab) { plan in
                // Another checkout, another folder, another data directory: as another machine has it.
                let elsewhere = "\(plan.folder)/elsewhere"
                try FileManager.default.createDirectory(atPath: elsewhere, withIntermediateDirectories: true)
                try FileManager.default.moveItem(atPath: plan.source, toPath: "\(elsewhere)/checkout")
                try FileManager.default.moveItem(atPath: plan.file, toPath: "\(elsewhere)/p.json")
                let data = "\(elsewhere)/data"

                let lost = try await lab.plumb(["apply", "p.json", "--yes"], data: data, folder: elsewhere)
                #expect(lost.status == 1 && lost.output.isEmpty)
                #expect(lost.errorOutput.contains("error: the plan is of the specs in '\(plan.source)', and there is no '\(plan.source)'"))
                #expect(lost.errorOutput.contains("--source FOLDER"))
                let apply = try await lab.plumb(["apply", "p.json", "--yes", "--source", "checkout"], data: data, folder: elsewhere)
                #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                #expect(apply.output.contains("Apply: 2 succeeded"))
                let history = try await run([plumb, "history", "--data-dir", data])
                #expect(history.output.contains("apply p.json  complete"), "\(history.output)")
            }
        }

        @Test func otherSpecsAreRefused() async throws {
            let lab = try Lab()
            try await withPlan(of: ["other"], lab) { plan in
                let spec = URL(fileURLWithPath: "\(plan.source)/specs.yaml")
                let text = try String(contentsOf: spec, encoding: .utf8)
                try Data("\(text)# a comment\n".utf8).write(to: spec)
                try await expectRefusal(plan, lab, "error: the specs in '\(plan.source)' are not those that the plan was made of")
                try Data(text.utf8).write(to: spec)
                try Data("---\n".utf8).write(to: URL(fileURLWithPath: "\(plan.source)/more.yaml"))
                try await expectRefusal(plan, lab, "are not those that the plan was made of")
            }
        }

        @Test func aFileThatIsNotAsItWasWrittenIsRefused() async throws {
            let lab = try Lab()
            try await withPlan(of: ["file"], lab) { plan in
                let url = URL(fileURLWithPath: plan.file)
                let text = try String(contentsOf: url, encoding: .utf8)
                let printed = try await lab.plumb(["plan", plan.source, "--output", "json"]).output
                let cases: [(String, String)] = [
                    (text.replacing("promisc on", with: "promisc off"), "was changed after it was written: its checksum does not fit; plan again"),
                    (text + "\n", "was changed after it was written: not a byte may differ; plan again"),
                    (String(text.prefix(text.count / 2)), "is cut short: plan again"),
                    ("", "is no JSON document, so no plan of Plumb"),
                    (#"{"kind": "List"}"#, "is no plan of Plumb"),
                    (text.replacing(#""formatVersion": "1""#, with: #""formatVersion": "2""#), "which is newer than what this Plumb reads ('1')"),
                    (text.replacing(#""formatVersion": "1""#, with: #""formatVersion": "0""#), "which is older than what this Plumb reads ('1')"),
                    (printed, "was printed by --output json, which keeps too little to be compared: plan again with --out FILE.json"),
                ]
                for (content, reason) in cases {
                    try Data(content.utf8).write(to: url)
                    try await expectRefusal(plan, lab, "error: \(plan.file) ", reason, "Nothing was contacted, nothing was changed.")
                }
                for path in ["\(plan.folder)/none.json", "/dev/null.json"] {
                    let none = try await lab.plumb(["apply", path, "--yes"])
                    #expect(none.status == 1 && none.errorOutput.contains("error: \(path) can't be read: No such file or directory"))
                }
                try Data(text.utf8).write(to: url)
                #expect(try await lab.plumb(["apply", plan.file, "--yes"]).status == 0, "as it was, it is taken")
            }
        }

        @Test func anotherMachineBehindTheNameIsRefused() async throws {
            let lab = try Lab()
            try await withPlan(of: ["same", "taken"], lab) { plan in
                // Its key is known, and it needs the same changes.
                try await lab.lab("remove", "taken")
                try await lab.lab("add", "taken", "--drift")
                let before = try await lab.rules("taken")
                let refused = try await lab.plumb(["apply", plan.file, "--yes"])
                #expect(refused.status == 1)
                #expect(
                    refused.output.contains(
                        "≠ \(Self.chain("taken")): another machine answers to the name taken than the one the plan was made for: its host key"
                    ),
                    "\(refused.output)"
                )
                #expect(try await !lab.isPromiscuous("same"))
                let skipped = try await lab.plumb(["apply", plan.file, "--yes", "--on-stale", "skip", "--output", "jsonl"])
                #expect(skipped.status == 1)
                #expect(
                    try skipped.lines.words == [
                        "\(Self.chain("same")) succeeded", "same/NetworkInterface/wlan0 succeeded",
                        "\(Self.chain("taken")) stale", "taken/NetworkInterface/wlan0 stale",
                    ]
                )
                #expect(try await lab.rules("taken") == before)
                #expect(try await !lab.isPromiscuous("taken"))
            }
        }

        @Test func aHostThatIsAwayMakesItsPartStale() async throws {
            let lab = try Lab()
            try await withPlan(of: ["there", "gone"], lab) { plan in
                try await lab.lab("stop", "gone")
                let refused = try await lab.plumb(["apply", plan.file, "--yes"])
                #expect(refused.status == 1)
                #expect(
                    refused.output.contains("≠ gone/NetworkInterface/wlan0: gone is unreachable, so it could not be observed"),
                    "\(refused.output)"
                )
                #expect(refused.output.contains("  ! gone: unreachable\n"), "\(refused.output)")
                #expect(try await !lab.isPromiscuous("there"))
                let skipped = try await lab.plumb(["apply", plan.file, "--yes", "--on-stale", "skip"])
                #expect(skipped.status == 1 && skipped.output.contains("Apply: 2 succeeded, 0 failed, 0 skipped, 2 stale"), "\(skipped.output)")
            }
        }

        @Test func aSecretIsNotInItAndAnotherOneIsNoticed() async throws {
            let lab = try Lab()
            let canary = "canary-\(UUID().uuidString)"
            func secret(_ password: String) -> String {
                "apiVersion: v1\nkind: Secret\nmetadata: {name: plan-canary}\nstringData: {password: \(password)}\n"
            }
            try await lab.withSpecs(["specs.yaml": Lab.cluster, "secret.yaml": secret("old-\(canary)")]) { source in
                #expect(try await lab.plumb(["apply", source, "--yes"]).status == 0)
                func change(to password: String) async throws {
                    let text = Data("\(password)-\(canary)".utf8).base64EncodedString()
                    let path = "/api/v1/namespaces/default/secrets/plan-canary"
                    try await lab.request("PATCH", path, #"{"data":{"password":"\#(text)"}}"#, type: "application/merge-patch+json")
                }
                try await change(to: "one")
                try Data(secret(canary).utf8).write(to: URL(fileURLWithPath: "\(source)/secret.yaml"))
                let file = "\(source).json"
                defer { try? FileManager.default.removeItem(atPath: file) }
                let plan = try await lab.plumb(["plan", source, "--out", file, "--verbose"])
                #expect(plan.status == 0, "\(plan.errorOutput)")
                let text = try String(contentsOfFile: file, encoding: .utf8)
                #expect(text.contains("(sensitive)"))
                for said in [text, plan.output, plan.errorOutput] {
                    #expect(!said.contains(canary) && !said.contains(Data(canary.utf8).base64EncodedString()))
                }
                // By the same hand: of what is shown, nothing differs.
                try await change(to: "other")
                let stale = try await lab.plumb(["apply", file, "--yes"])
                #expect(stale.status == 1)
                #expect(
                    stale.output.contains("≠ home/v1/Secret/default/plan-canary: a sensitive value that is part of it has changed"),
                    "\(stale.output)"
                )
                for said in [stale.output, stale.errorOutput] { #expect(!said.contains(canary)) }

                #expect(try await lab.plumb(["plan", source, "--out", file]).status == 0)
                let apply = try await lab.plumb(["apply", file, "--yes"])
                #expect(apply.status == 0, "the same secret is no other one: \(apply.output) \(apply.errorOutput)")
            }
            try await lab.request("DELETE", "/api/v1/namespaces/default/secrets/plan-canary")
        }

        @Test func aPlanThatCannotBeWrittenIsAFailureAndLeavesNothing() async throws {
            let lab = try Lab()
            try await withPlan(of: ["written"], lab) { plan in
                let missing = try await lab.plumb(["plan", plan.source, "--out", "\(plan.folder)/none/p.json"])
                #expect(missing.status == 1 && missing.errorOutput.contains("p.json: No such file or directory"), "\(missing.errorOutput)")
                let folder = "\(plan.folder)/folder.json"
                try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
                let taken = try await lab.plumb(["plan", plan.source, "--out", folder])
                #expect(taken.status == 1 && taken.errorOutput.contains("it is there and is no plain file"), "\(taken.errorOutput)")
                #expect(try FileManager.default.contentsOfDirectory(atPath: plan.folder).sorted() == ["folder.json", "plan.json", "specs"])
            }
        }

        // MARK: -

        private struct Kept {
            var folder: String
            var source: String
            var file: String
            var made: Outcome
        }

        /// Drifted hosts, specs for them, and a plan of both in a file.
        private func withPlan(of hosts: [String], options: [String] = [], _ lab: Lab, _ body: (Kept) async throws -> Void) async throws {
            let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-plan-\(UUID().uuidString)").path
            let source = "\(folder)/specs"
            try FileManager.default.createDirectory(atPath: source, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let wanted = Lab.spec("NetworkInterface", "interfaces: [wlan0], flags: {promiscuous: true, multicast: true}") + Lab.leftovers
            try Data((Lab.hosts(hosts) + wanted).utf8).write(to: URL(fileURLWithPath: "\(source)/specs.yaml"))
            func nest(_ rest: ArraySlice<String>) async throws {
                guard let host = rest.first else {
                    let made = try await lab.plumb(["plan", source, "--out", "\(folder)/plan.json"] + options)
                    #expect(made.status == 0, "\(made.output) \(made.errorOutput)")
                    return try await body(Kept(folder: folder, source: source, file: "\(folder)/plan.json", made: made))
                }
                try await lab.withHost(host, drift: true) { try await nest(rest.dropFirst()) }
            }
            try await nest(hosts[...])
        }

        private func expectRefusal(_ plan: Kept, _ lab: Lab, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation) async throws {
            let refused = try await lab.plumb(["apply", plan.file, "--yes", "--on-stale", "skip"])
            #expect(refused.status == 1 && refused.output.isEmpty, "\(refused.output)", sourceLocation: sourceLocation)
            for part in parts { #expect(refused.errorOutput.contains(part), "\(part) in \(refused.errorOutput)", sourceLocation: sourceLocation) }
        }
    }
}

extension Lab {
    func isPromiscuous(_ host: String) async throws -> Bool {
        try await link(host, "wlan0")["flags"]?.arrayValue?.contains("PROMISC") == true
    }
}

extension [Value] {
    /// How each address ended, as `ADDRESS TYPE`, sorted.
    var words: [String] {
        compactMap { event -> String? in
            guard let type = event["type"]?.stringValue, !["planned", "started", "summary"].contains(type) else { return nil }
            return "\(event["address"]?.stringValue ?? "") \(type)"
        }.sorted()
    }
}
