import Foundation
import Testing
import Values

/// `plumb report --drift-issue` where no host answers.
@Suite struct DriftIssueTests {
    @Test(arguments: [
        ["--drift-issue"], ["--forge", "gitea", "--drift-issue", "--pull-request", "1"], ["--forge", "gitea", "--drift-issue", "--head", "a"],
        ["--forge", "gitea", "--drift-issue", "--untrusted"], ["--forge", "gitea", "--drift-issue", "--output", "json"], ["--forge", "gitea"],
    ])
    func wrongUsage(arguments: [String]) async throws {
        #expect(try await run([plumb, "report"] + arguments).status == 64)
    }
}

extension LabTests {
    /// The issue about drift, at real hosts and at `Tests/Lab/forge`.
    @Suite struct DriftIssueLabTests {
        private struct Site {
            let lab: Lab
            let folder: String
            let forge: ForgeDouble

            /// - Parameter specs: Committed on `main`, as `state/specs.yaml`.
            static func with(_ specs: String, _ body: (Site) async throws -> Void) async throws {
                let folder = "/tmp/plumb-drift-\(UUID().uuidString.prefix(8))"
                defer { try? FileManager.default.removeItem(atPath: folder) }
                try FileManager.default.createDirectory(atPath: "\(folder)/work/state", withIntermediateDirectories: true)
                let forge = try await ForgeDouble()
                let site = Site(lab: try Lab(), folder: folder, forge: forge)
                try await site.git("init", "-q", "-b", "main")
                try await site.commit(specs)
                try await body(site)
            }

            @discardableResult func git(_ arguments: String...) async throws -> Outcome {
                let command = ["git", "-C", "\(folder)/work", "-c", "user.name=n", "-c", "user.email=n@example.org"] + arguments
                let outcome = try await run(command, environment: ["HOME": folder])
                #expect(outcome.status == 0, "\(outcome.errorOutput)")
                return outcome
            }

            func commit(_ specs: String) async throws {
                try Data(specs.utf8).write(to: URL(fileURLWithPath: "\(folder)/work/state/specs.yaml"))
                try await git("add", ".")
                try await git("commit", "-qm", "specs")
            }

            func report(expecting status: Int32 = 0) async throws -> Outcome {
                let arguments = [
                    "report", "\(folder)/work", "--path", "state", "--forge", "gitea", "--forge-url", forge.url, "--repository", "o/r",
                    "--drift-issue",
                ]
                let outcome = try await lab.plumb(arguments, environment: ["PLUMB_FORGE_TOKEN": "s3cret"])
                #expect(outcome.status == status, "\(outcome.output) \(outcome.errorOutput)")
                return outcome
            }

        }

        @Test func isOneIssueThatOpensAndCloses() async throws {
            let lab = try Lab()
            try await lab.withHost("drift-1", drift: true) {
                try await Site.with(Lab.hosts(["drift-1"]) + Lab.promiscuous + Lab.leftovers) { site in
                    let opened = try await site.report()
                    #expect(opened.errorOutput.contains("issue created"), "\(opened.errorOutput)")
                    let issue = try #require(try await site.forge.issues.first)
                    let text = issue["body"]?.stringValue ?? ""
                    #expect(issue["title"] == "Plumb: 2 resources differ from the specs (state)", "\(issue)")
                    #expect(text.hasPrefix("<!-- plumb:drift:state -->\n"))
                    #expect(
                        text.contains(
                            "  - either `plumb apply --target drift-1/NetworkInterface/wlan0`\n  - or `plumb adopt drift-1/NetworkInterface/wlan0`\n"
                        ),
                        "\(text)"
                    )
                    #expect(
                        text.contains("drift-1/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat")
                            && opened.output.contains("`flags.promiscuous`: `false` → `true`")
                    )

                    // The same but for the time: nothing is sent.
                    let writes = try await site.forge.writes.count
                    let again = try await site.report()
                    #expect(again.errorOutput.contains("issue unchanged"), "\(again.errorOutput)")
                    let more = try await site.forge.writes
                    #expect(more.count == writes, "\(more)")

                    // One of the two ways out, as the issue says it.
                    let adopt = try await site.lab.plumb(["adopt", "drift-1/NetworkInterface/wlan0"], folder: "\(site.folder)/work")
                    #expect(adopt.status == 0, "\(adopt.output) \(adopt.errorOutput)")
                    try await site.git("commit", "-qam", "Adopt it")
                    #expect(try await site.report().errorOutput.contains("issue updated"))
                    #expect(try await site.forge.issues.first?["title"] == "Plumb: 1 resource differs from the specs (state)")

                    // The other one.
                    let chain = "drift-1/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat"
                    let apply = try await site.lab.plumb(["apply", "--target", chain, "--yes"], folder: "\(site.folder)/work")
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    #expect(try await site.report().errorOutput.contains("issue closed"))
                    let closed = try #require(try await site.forge.issues.first)
                    #expect(closed["state"] == "closed" && closed["title"] == "Plumb: all is as declared (state)")
                    #expect(try await site.report().errorOutput.contains("issue none"))

                    // Gone: what could not be read may differ, and a closed issue stays closed.
                    try await site.lab.lab("stop", "drift-1")
                    let away = try await site.report(expecting: 1)
                    #expect(away.errorOutput.contains("left as it is"), "\(away.errorOutput)")
                    try await site.lab.lab("start", "drift-1")

                    try await site.lab.lab("exec", "drift-1", "ip", "link", "set", "wlan0", "promisc", "on")
                    #expect(try await site.report().errorOutput.contains("issue reopened"))
                    let issues = try await site.forge.issues
                    #expect(issues.count == 1 && issues.first?["state"] == "open", "\(issues)")

                    // Where everybody can read it, what is live is not shown.
                    try await site.forge.control(["private": false])
                    #expect(try await site.report().errorOutput.contains("issue updated"))
                    let hidden = try await site.forge.issues.first?["body"]?.stringValue ?? ""
                    #expect(hidden.contains("`flags.promiscuous`: `(hidden)` → `false`"), "\(hidden)")
                }
            }
        }

        @Test func theControllerKeepsItForWhatItOnlyReports() async throws {
            let lab = try Lab()
            let controller = try RunningController(lab)
            let forge = try await ForgeDouble()
            try Data("s3cret\n".utf8).write(to: URL(fileURLWithPath: "\(controller.folder)/token"))
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: "\(controller.folder)/token")
            try await lab.withHost("drift-2", drift: true) {
                controller.settings = """
                    policy: {apply: auto, rules: [{kinds: [NetworkInterface], apply: report}]}
                    reports: {forge: gitea, url: "\(forge.url)", repository: o/r, tokenFile: \(controller.folder)/token, pullRequests: false, driftIssue: true}
                    """
                let chain = Lab.spec("IptablesChain", "table: nat, chains: [OLD_CILIUM_POST_nat]", annotations: "{plumb/settle: 1s}")
                try controller.write(["specs.yaml": Lab.hosts(["drift-2"]) + Lab.promiscuous + chain])
                try await controller.start()
                try await controller.eventually("the issue is there") { try await forge.issues.count == 1 }
                let text = try await forge.issues.first?["body"]?.stringValue ?? ""
                // What is put right by itself is no issue.
                #expect(text.contains("NetworkInterface/wlan0") && !text.contains("IptablesChain"), "\(text)")
                #expect(try await controller.changes().keys.sorted() == ["drift-2/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat"])

                // Put right by hand: closed, at the earliest a minute after what was said before.
                try await lab.setPromiscuous("drift-2", true)
                try await controller.eventually("the issue is closed", within: 120) { try await forge.issues.first?["state"] == "closed" }
                let writes = try await forge.writes
                #expect(writes.map(\.method) == ["POST", "PATCH"], "\(writes)")
                let status = try await controller.command("status").output
                #expect(status.contains("drift issue: 0 differences, as of "), "\(status)")
                #expect(controller.stop() == 0)
            }
        }
    }
}
