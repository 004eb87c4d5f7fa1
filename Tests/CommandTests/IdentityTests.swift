import Foundation
import Testing
import Values

extension LabTests {
    /// Another machine, or another cluster, behind a name that is known.
    @Suite struct IdentityTests {
        private static let quick = ["--yes", "--output", "jsonl", "--timeout", "5s"]

        @Test func anotherMachineIsBlockedUntilItIsAccepted() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/swapped"
            try await lab.withSpecs(["specs.yaml": Lab.hosts(["swapped", "steady"]) + Lab.wlan0("mtu: 1400")]) { source in
                try await lab.withHost("steady") {
                    try await lab.withHost("swapped") {
                        let apply = try await lab.plumb(["apply", source] + Self.quick, data: data)
                        #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    }
                    // Another one takes its name and its address.
                    try await lab.withHost("swapped") {
                        let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"], data: data)
                        #expect(plan.status == 2, "\(plan.errorOutput)")
                        #expect(try plan.document.problems == ["swapped blocked"])
                        let message = try plan.document.message(of: "swapped")
                        let form = /not the machine of \d{4}-\d\d-\d\d \(machine-id [0-9a-f]{8}… then, .* [0-9a-f]{8}… now/
                        #expect(message.contains(form), "\(message)")
                        #expect(message.hasSuffix("plumb accept swapped"))
                        let again = try await lab.plumb(["apply", source] + Self.quick, data: data)
                        #expect(try again.status == 1 && again.lines.last?["problems"] == 1, "\(again.output)")
                        let problem = try again.lines.first { $0["type"] == "problem" }
                        #expect(problem?["target"] == "swapped" && problem?["status"] == "blocked", "\(again.output)")
                        #expect(problem?["message"]?.stringValue?.contains("not the machine of") == true, "\(again.output)")
                        #expect(try await lab.link("swapped", "wlan0")["mtu"] == 1500, "nothing is done there")
                        let release = try await lab.plumb(["release", "swapped", source, "--restore", "--yes"], data: data)
                        #expect(release.status == 1 && release.output.contains("not the machine of"), "\(release.output)")

                        let asked = try await lab.plumb(["accept", "swapped", source], data: data)
                        #expect(asked.status == 1 && asked.errorOutput.contains("nobody can be asked"), "\(asked.errorOutput)")
                        let accept = try await lab.plumb(["accept", "swapped", source, "--yes"], data: data)
                        #expect(accept.status == 0, "\(accept.errorOutput)")
                        for text in ["then: host with machine-id ", "now:  host with machine-id ", "swapped/NetworkInterface/wlan0: mtu 1400"] {
                            #expect(accept.output.contains(text), "\(accept.output)")
                        }
                        let twice = try await lab.plumb(["accept", "swapped", source, "--yes"], data: data)
                        #expect(twice.status == 0 && twice.output.contains("there is nothing to accept"))

                        // What was there before on the old one is not offered for the new one.
                        let nothing = try await lab.plumb(["release", "swapped", source, "--restore", "--yes"], data: data)
                        #expect(nothing.status == 0 && nothing.output.contains("Nothing is held that 'swapped' means."), "\(nothing.output)")
                        let last = try await lab.plumb(["apply", source] + Self.quick, data: data)
                        #expect(last.status == 0, "\(last.output) \(last.errorOutput)")
                        #expect(try await lab.link("swapped", "wlan0")["mtu"] == 1400)
                    }
                }
            }
            let history = try await run([plumb, "history", "--data-dir", data])
            #expect(history.output.contains("accept"), "\(history.output)")
        }

        @Test func withoutAMachineIDNobodyIsTakenForAnotherOrTheSame() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/nameless"
            try await lab.withHost("nameless") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["nameless"]) + Lab.wlan0("mtu: 1400")]) { source in
                    #expect(try await lab.plumb(["apply", source] + Self.quick, data: data).status == 0)
                    try await lab.lab("exec", "nameless", "sh", "-c", "rm /etc/machine-id")
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--detailed-exitcode"], data: data)
                    #expect(plan.status == 0, "\(plan.output) \(plan.errorOutput)")
                    #expect(plan.output.contains("it can't be told from another machine of this name"), "\(plan.output)")
                    let release = try await lab.plumb(["release", "nameless", source, "--restore", "--yes"], data: data)
                    #expect(release.status == 1 && release.output.contains("can't be told whether this is the machine"), "\(release.output)")
                    let accept = try await lab.plumb(["accept", "nameless", source, "--yes"], data: data)
                    #expect(accept.status == 1 && accept.errorOutput.contains("does not say who it is"), "\(accept.errorOutput)")
                    #expect(try await lab.link("nameless", "wlan0")["mtu"] == 1400)
                }
            }
        }

        @Test func clonesAreNoted() async throws {
            let lab = try Lab()
            try await lab.withHost("clone-1") {
                try await lab.withHost("clone-2") {
                    let id = try await lab.lab("exec", "clone-1", "cat", "/etc/machine-id").output.trimmingCharacters(in: .whitespacesAndNewlines)
                    try await lab.lab("exec", "clone-2", "sh", "-ec", "rm /etc/machine-id; echo \(id) >/etc/machine-id")
                    try await lab.withSpecs(["specs.yaml": Lab.hosts(["clone-1", "clone-2"]) + Lab.ubuntu]) { source in
                        let plan = try await lab.plumb(["plan", source], data: "\(lab.folder)/clones")
                        #expect(plan.status == 0 && plan.output.contains("clone-1, clone-2 have the same machine-id"), "\(plan.output)")
                        #expect(!FileManager.default.fileExists(atPath: "\(lab.folder)/clones/journal.sqlite"), "a plan keeps nothing")
                    }
                }
            }
        }

        @Test func aClusterHasAnIdentityToo() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/cluster-identity"
            let object = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: default, annotations: {plumb/manage: fields}}\n"
            try await lab.withHost("home") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["home"]) + Lab.ubuntu]) { source in
                    let apply = try await lab.plumb(["apply", source] + Self.quick, data: data)
                    #expect(apply.status == 0, "\(apply.errorOutput)")
                }
            }
            // The name goes to something else altogether.
            try await lab.withSpecs(["specs.yaml": Lab.cluster + object]) { source in
                let plan = try await lab.plumb(["plan", source, "--output", "json"], data: data)
                #expect(try plan.document.problems == ["home blocked"], "\(plan.output)")
                #expect(try plan.document.message(of: "home").contains("not the cluster of"), "\(plan.output)")
                let accept = try await lab.plumb(["accept", "home", source, "--yes"], data: data)
                #expect(accept.status == 0, "\(accept.errorOutput)")
                #expect(accept.output.contains("now:  cluster with UID of kube-system "), "\(accept.output)")
                let again = try await lab.plumb(["plan", source, "--output", "json"], data: data)
                #expect(try again.document.problems.isEmpty, "\(again.output)")
            }
        }

        @Test func anInventoryThatCantBeReadKeepsNobodyFromPlanning() async throws {
            let lab = try Lab()
            let data = "\(lab.folder)/damaged"
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            try Data("no database at all, but long enough to be taken for one".utf8).write(to: URL(fileURLWithPath: "\(data)/journal.sqlite"))
            try await lab.withHost("planned") {
                try await lab.withSpecs(["specs.yaml": Lab.hosts(["planned"]) + Lab.ubuntu]) { source in
                    let plan = try await lab.plumb(["plan", source, "--output", "json"], data: data)
                    #expect(plan.status == 0 && plan.errorOutput.contains("is damaged") && plan.errorOutput.contains("are not compared"))
                    #expect(try plan.document["unchanged"]?.arrayValue?.count == 1)
                }
            }
        }
    }
}

extension Lab {
    static func wlan0(_ fields: String) -> String { spec("NetworkInterface", "interfaces: [wlan0], \(fields)") }
}
