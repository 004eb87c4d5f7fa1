import Foundation
import Testing
import Values

/// A bare repository with branches, made by the real git.
private struct Repository {
    let folder: String
    var url: String { "file://\(folder)/specs.git" }

    /// Gone when `body` ends.
    static func with(_ body: (Repository) async throws -> Void) async throws {
        let repository = Repository(folder: FileManager.default.temporaryDirectory.appendingPathComponent("plumb-report-\(UUID().uuidString)").path)
        try FileManager.default.createDirectory(atPath: repository.folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: repository.folder) }
        try await repository.git("init", "-q", "-b", "main", "--bare", "specs.git")
        try await repository.git("clone", "-q", "specs.git", "work")
        try await body(repository)
    }

    @discardableResult func git(_ arguments: String...) async throws -> String {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        let outcome = try await run(["git"] + identity + arguments, environment: ["GIT_CONFIG_NOSYSTEM": "1", "HOME": folder], folder: folder)
        try #require(outcome.status == 0, "\(outcome.errorOutput)")
        return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// Commits `state/specs.yaml` and pushes it as a branch.
    @discardableResult
    func push(_ branch: String, _ specs: String, prepare: (_ work: String) throws -> Void = { _ in }) async throws -> String {
        try await git("-C", "work", "checkout", "-q", "-B", branch)
        try FileManager.default.createDirectory(atPath: "\(folder)/work/state", withIntermediateDirectories: true)
        try Data(specs.utf8).write(to: URL(fileURLWithPath: "\(folder)/work/state/specs.yaml"))
        try prepare("\(folder)/work")
        try await git("-C", "work", "add", "-A")
        try await git("-C", "work", "commit", "-q", "--allow-empty", "-m", "specs")
        try await git("-C", "work", "push", "-q", "-f", "origin", branch)
        return try await git("-C", "work", "rev-parse", "HEAD")
    }
}

/// `plumb report` where no host answers.
struct ReportTests {
    private static let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKe8rmwnIUmxIQ4Cz8gR7kyiPMGjHH0FSZe1sFLv8QAa"

    private static func host(_ name: String, address: String = "127.0.0.1") -> String {
        "---\napiVersion: plumb/v1\nkind: Host\nmetadata: {name: \(name)}\nspec: {address: \(address), port: 1, hostKeys: [\"\(key)\"]}\n"
    }

    private static func mtu(_ mtu: Int) -> String { Lab.spec("NetworkInterface", "interfaces: [wlan0], mtu: \(mtu)") }

    private func report(_ repository: Repository, _ arguments: String...) async throws -> Outcome {
        try await run(
            [plumb, "report", repository.url, "--path", "state", "--base", "main", "--head", "feature", "--timeout", "2s"] + arguments,
            environment: ["XDG_STATE_HOME": "\(repository.folder)/data", "HOME": repository.folder]
        )
    }

    private func targets(_ document: Value) -> [String] {
        (document["targets"]?.arrayValue ?? []).map { "\($0["target"]?.stringValue ?? "") \($0["operation"]?.stringValue ?? "")" }
    }

    @Test func saysWhatCouldNotBeReadAndSinceWhen() async throws {
        try await Repository.with { repository in
            let base = try await repository.push("main", Self.host("old") + Self.mtu(1400))
            let head = try await repository.push("feature", Self.host("old") + Self.host("new") + Self.mtu(1300))
            let outcome = try await report(repository, "--output", "json")
            #expect(outcome.status == 1, "\(outcome.errorOutput)")
            let document = try outcome.document
            #expect(document[path: "base", "commit"] == .string(base) && document[path: "head", "commit"] == .string(head))
            #expect(document.problems == ["new unreachable", "old unreachable"])
            #expect(document["problems"]?.arrayValue?.map { $0["since"]?.stringValue } == ["pullRequest", "before"])
            #expect(document["formatVersion"] == "1" && document["observedAt"]?.stringValue?.hasSuffix("UTC") == true)

            let markdown = try await report(repository)
            #expect(markdown.output.hasPrefix("<!-- plumb:report state -->\n### Plumb: no changes; 2 not read\n"), "\(markdown.output)")
            #expect(markdown.output.contains("**unreachable** `old`"))
            #expect(!FileManager.default.fileExists(atPath: "\(repository.folder)/data"), "a report writes nothing")
        }
    }

    /// SECURITY.md, "Who is contacted".
    @Test func aStrangersHostsAreNotContacted() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            try await repository.push("feature", Self.host("old", address: "127.0.0.2") + Self.host("new") + Self.mtu(1300))
            let outcome = try await report(repository, "--untrusted", "--output", "json")
            let document = try outcome.document
            #expect(document.problems == ["old unreachable"], "\(outcome.output)")
            #expect(targets(document) == ["new added", "old changed"])
            // Not even the words in which it failed: they have the address in them.
            #expect(document.message(of: "old") == "could not be reached")
            #expect(document["declared"]?.arrayValue?.map { $0["address"]?.stringValue } == ["new/NetworkInterface/wlan0"])
            let markdown = try await report(repository, "--untrusted").output
            #expect(markdown.contains("#### Would be contacted after the merge") && markdown.contains("None of these was."))
            #expect(markdown.contains("no write permission"))
            #expect(!outcome.errorOutput.contains("new"), "\(outcome.errorOutput)")
        }
    }

    @Test func mistakesOfTheHeadAreTheReport() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            try await repository.push("feature", Self.host("old") + "---\napiVersion: plumb/v1\nkind: Hots\nmetadata: {name: a}\nspec: {}\n")
            for arguments in [[], ["--untrusted"]] {
                let outcome = try await run(
                    [plumb, "report", repository.url, "--path", "state", "--base", "main", "--head", "feature", "--output", "json"] + arguments
                )
                #expect(
                    outcome.status == 1 && outcome.errorOutput.contains("state/specs.yaml:8:7: error: unknown kind 'Hots'"),
                    "\(outcome.errorOutput)"
                )
                let mistake = try outcome.document["mistakes"]?.arrayValue?.first
                #expect(mistake?["path"] == "state/specs.yaml" && mistake?["line"] == 8 && mistake?["column"] == 7)
                #expect(try outcome.document["headline"] == "1 mistake in the specs")
            }
        }
    }

    @Test func aBaseWithMistakesIsSaidAndComparedWithNothing() async throws {
        try await Repository.with { repository in
            try await repository.push("main", "kind: 1\n")
            try await repository.push("feature", Self.host("old") + Self.mtu(1300))
            let outcome = try await report(repository, "--output", "json", "--untrusted")
            #expect(outcome.status == 1)
            #expect(try outcome.document["baseMistakes"]?.intValue ?? 0 > 0)
            #expect(try outcome.document.problems.isEmpty, "nothing of a stranger's is asked for")
        }
    }

    /// SECURITY.md, "Who is contacted": the specs have no words for jump hosts, keys and plugins.
    @Test(arguments: ["proxyJump: evil", "identityFile: /root/.ssh/id", "proxyCommand: sh", "sshConfig: x", "exec: {command: sh}"])
    func waysOfGettingInAreNoSpecs(field: String) async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            let host = "---\napiVersion: plumb/v1\nkind: Host\nmetadata: {name: old}\nspec: {address: 127.0.0.1, \(field)}\n"
            try await repository.push("feature", host + Self.mtu(1400))
            let outcome = try await report(repository, "--untrusted", "--output", "json")
            #expect(outcome.status == 1)
            #expect(
                try outcome.document["mistakes"]?.arrayValue?.first?["message"]?.stringValue?.hasPrefix("unknown field") == true,
                "\(outcome.output)"
            )
        }
    }

    // MARK: Too much (SECURITY.md, "Amounts")

    @Test func aHugeFileOfAStrangerIsRefusedByName() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            try await repository.push("feature", Self.host("old") + Self.mtu(1400)) { work in
                try Data(count: 100 << 20).write(to: URL(fileURLWithPath: "\(work)/state/huge.yaml"))
            }
            let outcome = try await report(repository, "--untrusted", "--output", "json")
            #expect(outcome.status == 1)
            let mistake = try outcome.document["mistakes"]?.arrayValue?.first
            #expect(mistake?["path"] == "state/huge.yaml" && mistake?["message"]?.stringValue?.contains("1048576 bytes") == true, "\(outcome.output)")
        }
    }

    @Test func aFewLinesThatComeToMillionsOfResourcesAreRefused() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            let names = (0..<2000).map { "    h\($0): {}\n" }.joined()
            let hosts = "---\napiVersion: plumb/v1\nkind: HostList\nmetadata: {name: many}\nspec:\n  hosts:\n\(names)"
            let interfaces = (0..<2000).map { "i\($0)" }.joined(separator: ", ")
            try await repository.push("feature", Self.host("old") + hosts + Lab.spec("NetworkInterface", "interfaces: [\(interfaces)], mtu: 1400"))
            let outcome = try await report(repository, "--untrusted", "--output", "json")
            #expect(outcome.status == 1)
            let message = try outcome.document["mistakes"]?.arrayValue?.first?["message"]?.stringValue
            #expect(message == "with this the specs come to more than 20000 resources", "\(outcome.output.prefix(2000))")
        }
    }

    @Test(arguments: [("yaml", "more than 1002 files"), ("txt", "more than 50002 names")])
    func aTreeOfThousandsOfFilesIsRefused(ending: String, why: String) async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            // All of the same content: a tree of many names is a small pack.
            try await repository.push("feature", Self.host("old") + Self.mtu(1400)) { work in
                try FileManager.default.createDirectory(atPath: "\(work)/state/many", withIntermediateDirectories: true)
                for number in 0..<(ending == "yaml" ? 1100 : 50_100) {
                    _ = FileManager.default.createFile(atPath: "\(work)/state/many/\(number).\(ending)", contents: nil)
                }
            }
            let outcome = try await report(repository, "--untrusted", "--output", "json")
            #expect(outcome.status == 1)
            let mistakes = try outcome.document["mistakes"]?.arrayValue ?? []
            #expect(mistakes.contains { $0["message"]?.stringValue?.contains(why) == true }, "\(outcome.output.prefix(2000)) \(outcome.errorOutput)")
            #expect(try outcome.document.changes == [])
        }
    }

    @Test func aLinkOutOfTheRepositoryIsNotFollowed() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            try await repository.push("feature", Self.host("old") + Self.mtu(1400)) { work in
                try FileManager.default.createSymbolicLink(atPath: "\(work)/state/passwd.yaml", withDestinationPath: "/etc/passwd")
            }
            let outcome = try await report(repository, "--untrusted", "--output", "json")
            #expect(outcome.status == 1 && !outcome.output.contains("root:"), "\(outcome.output)")
            #expect(try outcome.document["mistakes"]?.arrayValue?.first?["path"] == "state/passwd.yaml")
        }
    }

    // MARK: Usage

    @Test func theRepositoryAroundTheCurrentFolderIsMeant() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            try await repository.push("feature", Self.host("old") + Self.mtu(1300))
            let arguments = ["report", "--base", "main", "--head", "feature", "--path", "state", "--output", "json", "--timeout", "2s"]
            let inside = try await run([plumb] + arguments, folder: "\(repository.folder)/work/state")
            #expect(try inside.document["source"]?.stringValue?.hasSuffix("/work//state") == true, "\(inside.errorOutput)")
            let named = try await run([plumb, "report", "specs.git"] + arguments.dropFirst(), folder: repository.folder)
            #expect(try named.document["source"]?.stringValue?.hasSuffix("/specs.git//state") == true, "\(named.errorOutput)")
            let outside = try await run([plumb] + arguments, folder: "/")
            #expect(outside.status == 1 && outside.errorOutput.contains("is in no git repository"), "\(outside.errorOutput)")
        }
    }

    @Test func aHeadThatLagsBehindTheBaseIsReportedAsMerged() async throws {
        try await Repository.with { repository in
            func targets(_ outcome: Outcome) throws -> [String] {
                (try outcome.document["targets"]?.arrayValue ?? []).map { "\($0["target"]?.stringValue ?? "") \($0["operation"]?.stringValue ?? "")" }
            }
            let start = Self.host("old") + Self.mtu(1400)
            try await repository.push("main", start)
            try await repository.push("feature", start + Self.host("new"))
            try await repository.git("-C", "work", "checkout", "-q", "main")
            try await repository.push("main", Self.host("other") + start)
            // What came to the base since is not taken away by the branch that does not have it.
            let merged = try await report(repository, "--output", "json", "--untrusted")
            #expect(try targets(merged) == ["new added"], "\(merged.output) \(merged.errorOutput)")

            try await repository.push("main", Self.host("old") + Self.mtu(1280))
            try await repository.git("-C", "work", "checkout", "-q", "feature")
            try await repository.push("feature", Self.host("old") + Self.mtu(1300))
            let conflict = try await report(repository)
            #expect(conflict.output.contains("can't be merged without a conflict"), "\(conflict.output) \(conflict.errorOutput)")
        }
    }

    @Test(arguments: [
        ["report"], ["report", "--base", "main"], ["report", "--base", "a", "--head", "b", "--revision", "c"],
        ["report", "--base", "a", "--head", "b", "--max-bytes", "100"], ["report", "--base", "", "--head", "b"],
    ])
    func wrongUsage(arguments: [String]) async throws {
        #expect(try await run([plumb] + arguments).status == 64)
    }

    @Test func aBranchThatIsNotThereIsSaid() async throws {
        try await Repository.with { repository in
            try await repository.push("main", Self.host("old") + Self.mtu(1400))
            let outcome = try await run([plumb, "report", repository.url, "--base", "nowhere", "--head", "main"])
            #expect(outcome.status == 1 && outcome.errorOutput.contains("nowhere") && outcome.output.isEmpty, "\(outcome.errorOutput)")
        }
    }
}

extension LabTests {
    /// A pull request against a real host and a real API server.
    @Suite struct ReportLabTests {
        private static func map(_ name: String, _ data: String) -> String {
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \(name), namespace: default}\ndata: {\(data)}\n"
        }

        /// SECURITY.md, "Amounts": of a repository that comes over the network.
        @Test func aPackThatIsTooLargeIsRefused() async throws {
            let lab = try Lab()
            try await Repository.with { repository in
                try await lab.lab("exec", "pi-1", "git", "init", "-q", "--bare", "-b", "main", "/root/large.git")
                let url = "ssh://root@pi-1/root/large.git"
                let ssh = "ssh -F \(ProcessInfo.processInfo.environment["LAB_SSH_CONFIG"] ?? "")"
                try await repository.git("-C", "work", "config", "remote.origin.url", url)
                try await repository.git("-C", "work", "config", "core.sshCommand", ssh)
                try await repository.push("main", Lab.hosts(["pi-1"]) + Lab.promiscuous)
                // What can't be compressed, where no spec is.
                try await repository.push("feature", Lab.hosts(["pi-1"]) + Lab.promiscuous) { work in
                    let random = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
                    defer { try? random.close() }
                    try (random.read(upToCount: 70 << 20) ?? Data()).write(to: URL(fileURLWithPath: "\(work)/large.bin"))
                }
                let arguments = ["report", url, "--path", "state", "--base", "main", "--head", "feature", "--output", "json"]
                let stranger = try await lab.plumb(arguments + ["--untrusted"])
                #expect(stranger.status == 1)
                let mistake = try stranger.document["mistakes"]?.arrayValue?.first?["message"]?.stringValue ?? ""
                #expect(mistake.contains("\(64 << 20) bytes"), "\(stranger.output) \(stranger.errorOutput)")
                #expect(try stranger.document.changes == [])
                let trusted = try await lab.plumb(arguments)
                #expect(try trusted.document["mistakes"] == [], "\(trusted.output)")
                try await lab.lab("exec", "pi-1", "rm", "-rf", "/root/large.git")
            }
        }

        @Test func tellsTheTwoApartAndChangesNothing() async throws {
            let lab = try Lab()
            try await lab.withHost("report-1", drift: true) {
                try await Repository.with { repository in
                    let targets = Lab.hosts(["report-1"]) + Lab.cluster
                    try await repository.push("main", targets + Lab.promiscuous + Self.map("report-x", "k: v"))
                    let apply = try await lab.plumb(["apply", repository.url, "--path", "state", "--target", "home", "--yes"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")

                    let head = targets + Lab.promiscuous + Lab.leftovers + Self.map("report-x", "k: w, guess: g") + Self.map("report-new", "k: v")
                    try await repository.push("feature", head)
                    let arguments = ["report", repository.url, "--path", "state", "--base", "main", "--head", "feature", "--output", "json"]
                    let outcome = try await lab.plumb(arguments)
                    #expect(outcome.status == 0, "\(outcome.output) \(outcome.errorOutput)")
                    let document = try outcome.document
                    #expect(
                        document.changes.sorted() == [
                            "home/v1/ConfigMap/default/report-new create", "home/v1/ConfigMap/default/report-x update",
                            "report-1/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat delete",
                        ]
                    )
                    let drifted = document["drifted"]?.arrayValue ?? []
                    #expect(drifted.map { $0["address"] } == ["report-1/NetworkInterface/wlan0"])
                    #expect(document["problems"] == [])

                    // Who may not write gets less of it, and is told so.
                    let stranger = try await lab.plumb(arguments + ["--untrusted"])
                    #expect(stranger.status == 0, "\(stranger.output) \(stranger.errorOutput)")
                    let seen = try stranger.document
                    #expect(seen.changes == ["home/v1/ConfigMap/default/report-x update"])
                    #expect(
                        seen["changes"]?.arrayValue?.first?["fields"] == [["path": "data[\"k\"]", "observed": "v", "desired": "w"]],
                        "\(stranger.output)"
                    )
                    let declared = (seen["declared"]?.arrayValue ?? []).compactMap { $0["address"]?.stringValue }
                    #expect(Set(declared).isSuperset(of: ["home/v1/ConfigMap/default/report-new", "home/v1/ConfigMap/default/report-x"]))
                    #expect(declared.contains { $0.hasPrefix("report-1/IptablesChain/") })
                    #expect(seen[path: "head", "planID"] == .null)

                    // Removing it in the head is a deletion of what Plumb made, for who may write.
                    try await repository.push("feature", targets + Lab.promiscuous)
                    let removal = try await lab.plumb(arguments)
                    #expect(try removal.document.changes == ["home/v1/ConfigMap/default/report-x delete"], "\(removal.output)")
                    let strangersRemoval = try await lab.plumb(arguments + ["--untrusted"])
                    #expect(try strangersRemoval.document.changes == [])

                    // Nothing was done by any of them.
                    let flags = try await lab.lab("exec", "report-1", "ip", "-j", "link", "show", "wlan0")
                    #expect(!flags.output.contains("PROMISC"))
                    let live = try await lab.request("GET", "/api/v1/namespaces/default/configmaps/report-x")
                    #expect(live["data"] == ["k": "v"])
                    let clean = try await lab.plumb([
                        "apply", repository.url, "--path", "state", "--revision", "feature", "--target", "home", "--yes",
                    ])
                    #expect(clean.status == 0, "\(clean.errorOutput)")
                }
            }
        }
    }
}
