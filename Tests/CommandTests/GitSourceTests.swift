import Foundation
import Testing
import Values

/// A repository with specs, made by the real git; gone when `body` ends.
private func withRepository(
    _ specs: String,
    _ body: (_ url: String, _ push: (_ specs: String) async throws -> String) async throws -> Void
) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-source-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    func git(_ arguments: String...) async throws -> String {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        let outcome = try await run(["git"] + identity + arguments, environment: ["GIT_CONFIG_NOSYSTEM": "1", "HOME": folder], folder: folder)
        try #require(outcome.status == 0, "\(outcome.errorOutput)")
        return outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
    func push(_ specs: String) async throws -> String {
        try FileManager.default.createDirectory(atPath: "\(folder)/work/state", withIntermediateDirectories: true)
        try Data(specs.utf8).write(to: URL(fileURLWithPath: "\(folder)/work/state/specs.yaml"))
        _ = try await git("-C", "work", "add", "-A")
        _ = try await git("-C", "work", "commit", "-q", "-m", "specs")
        _ = try await git("-C", "work", "push", "-q", "origin", "HEAD")
        return try await git("-C", "work", "rev-parse", "HEAD")
    }
    _ = try await git("init", "-q", "-b", "main", "--bare", "specs.git")
    _ = try await git("clone", "-q", "specs.git", "work")
    _ = try await push(specs)
    try await body("file://\(folder)/specs.git", push)
}

/// What needs no lab: the host of these specs is not there.
struct GitSourceTests {
    private static func specs(_ mtu: Int) -> String {
        "apiVersion: plumb/v1\nkind: Host\nmetadata: {name: none}\nspec: {address: 127.0.0.1, port: 1, hostKeys: [\"\(key)\"]}\n"
            + Lab.spec("NetworkInterface", "interfaces: [wlan0], mtu: \(mtu)")
    }
    private static let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKe8rmwnIUmxIQ4Cz8gR7kyiPMGjHH0FSZe1sFLv8QAa"

    private func plumbIn(_ data: String, _ arguments: String...) async throws -> Outcome {
        try await run([plumb] + arguments, environment: ["XDG_STATE_HOME": data])
    }

    @Test func everyCommandTakesAURL() async throws {
        try await withRepository(Self.specs(1400)) { url, push in
            let data = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-data-\(UUID().uuidString)").path
            defer { try? FileManager.default.removeItem(atPath: data) }
            let valid = try await plumbIn(data, "validate", url, "--path", "state")
            #expect(valid.status == 0 && valid.output.contains("\(url)//state at ") && valid.output.contains("1 host"), "\(valid.errorOutput)")
            #expect(try await plumbIn(data, "validate", "\(url)//state").output == valid.output)

            let file = "\(data)/plan.json"
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
            let plan = try await plumbIn(data, "plan", "\(url)//state", "--output", "json", "--out", file, "--timeout", "2s")
            let commit = try plan.document["revision"]?.stringValue ?? ""
            #expect(commit.count == 40 && valid.output.contains(commit))
            #expect(try plan.document["source"] == .string("\(url)//state"))
            #expect(try plan.document.problems == ["none unreachable"])

            // The branch moves on; the plan does not.
            let newer = try await push(Self.specs(1300))
            let apply = try await plumbIn(data, "apply", file, "--yes", "--timeout", "2s")
            #expect(apply.errorOutput.contains("of the specs in \(url)//state at \(commit)"), "\(apply.errorOutput)")
            #expect(!apply.errorOutput.contains("are not those"), "\(apply.errorOutput)")
            let other = try await plumbIn(data, "plan", "\(url)//state", "--output", "json", "--timeout", "2s")
            #expect(try other.document["revision"] == .string(newer))
            let pinned = try await plumbIn(data, "plan", url, "--path", "state", "--revision", commit, "--output", "json", "--timeout", "2s")
            #expect(try pinned.document["planID"] == plan.document["planID"])

            for command in [["release", "none/*", url, "--forget", "--yes"], ["accept", "none", url], ["host-key", "none", url]] {
                let outcome = try await run([plumb] + command + ["--path", "state", "--timeout", "2s"], environment: ["XDG_STATE_HOME": data])
                #expect(outcome.status <= 1 && !outcome.errorOutput.contains("no such file"), "\(command): \(outcome.errorOutput)")
            }
        }
    }

    @Test func mistakesAreNamedAsInTheRepository() async throws {
        try await withRepository("kind: 1\n") { url, _ in
            let outcome = try await run([plumb, "plan", url])
            #expect(outcome.status == 1 && outcome.errorOutput.contains("state/specs.yaml:1:"), "\(outcome.errorOutput)")
        }
    }

    @Test(arguments: [
        ["plan", "state", "--revision", "x"], ["validate", "state", "--path", "x"], ["apply", "p.json", "--revision", "x"],
        ["apply", "state", "--verify-signers", "x"], ["release", "*", "state", "--git-token-file", "x"],
    ])
    func optionsOfAURLAreForURLs(arguments: [String]) async throws {
        let outcome = try await run([plumb] + arguments)
        #expect(outcome.status == 64, "\(outcome.errorOutput)")
    }

    @Test func noCredentialsAreShown() async throws {
        for url in [
            "https://ann:hunter2@127.0.0.1:1/x.git", "https://hunter2@127.0.0.1:1/x.git", "http://a:hunter2@127.0.0.1:1/x", "bad://a:hunter2@h/x",
        ] {
            let outcome = try await run([plumb, "plan", url])
            #expect(outcome.status == 1 && !(outcome.output + outcome.errorOutput).contains("hunter2"), "\(outcome.errorOutput)")
        }
    }
}

extension LabTests {
    /// From a repository to a host, both behind a real sshd.
    @Suite struct GitSourceLabTests {
        @Test func appliesWhatIsPushed() async throws {
            let lab = try Lab()
            try await lab.withHost("git-1", drift: true) {
                let config = try #require(ProcessInfo.processInfo.environment["LAB_SSH_CONFIG"])
                try await lab.lab("exec", "git-1", "git", "init", "-q", "-b", "main", "--bare", "/root/specs.git")
                let specs = Lab.hosts(["git-1"]) + Lab.promiscuous
                try await withRepository(specs) { url, push in
                    let work = String(url.dropFirst("file://".count).dropLast("specs.git".count)) + "work"
                    func publish() async throws {
                        let outcome = try await run(
                            ["git", "-C", work, "push", "-q", "ssh://root@git-1/root/specs.git", "HEAD:main"],
                            environment: ["GIT_SSH_COMMAND": "ssh -F \(config)"]
                        )
                        try #require(outcome.status == 0, "\(outcome.errorOutput)")
                    }
                    try await publish()
                    let source = "ssh://root@git-1/root/specs.git//state"
                    let file = "\(lab.folder)/git-1.json"
                    let plan = try await lab.plumb(["plan", source, "--output", "json", "--out", file])
                    #expect(try plan.document["source"] == .string(source), "\(plan.errorOutput)")
                    #expect(try plan.document.changes == ["git-1/NetworkInterface/wlan0 update"], "\(plan.output) \(plan.errorOutput)")

                    // What was planned is applied, though the branch is elsewhere by now.
                    _ = try await push(Lab.hosts(["git-1"]) + Lab.leftovers)
                    try await publish()
                    let apply = try await lab.plumb(["apply", file, "--yes"])
                    #expect(apply.status == 0, "\(apply.output) \(apply.errorOutput)")
                    #expect(try await lab.isPromiscuous("git-1"))

                    let next = try await lab.plumb(["apply", source, "--yes", "--output", "jsonl"])
                    #expect(next.status == 0, "\(next.output) \(next.errorOutput)")
                    #expect(try next.lines.words.contains("git-1/IptablesChain/ipv4-nft-nat-OLD_CILIUM_POST_nat succeeded"), "\(next.output)")
                }
            }
        }
    }
}
