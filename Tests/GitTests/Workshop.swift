import Foundation
import Git
import SpecSources
import Subprocess
import Testing

#if canImport(System)
import System
#else
import SystemPackage
#endif

/// A folder of a test's own with repositories in it, made by the real git; gone when the test ends.
final class Workshop: Sendable {
    let folder: String

    init() throws {
        // As plumb itself does: a process that ends before it was asked is an error of the call.
        signal(SIGPIPE, SIG_IGN)
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-git-test-\(UUID().uuidString)").path
        for name in ["home", "data"] {
            try FileManager.default.createDirectory(atPath: "\(folder)/\(name)", withIntermediateDirectories: true)
        }
        let config = "[user]\nname = A\nemail = a@example.org\n[init]\ndefaultBranch = main\n[gpg]\nformat = ssh\n[commit]\ngpgsign = false\n"
        try write("home/.gitconfig", config)
        // In place of this test's own home, for what reads ~/.netrc and git's configuration.
        try script("plumb", "export HOME='\(folder)/home' GIT_CONFIG_NOSYSTEM=1; unset NETRC; exec '\(plumb)' \"$@\"")
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func write(_ name: String, _ text: String) throws {
        let url = URL(fileURLWithPath: "\(folder)/\(name)")
        try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(text.utf8).write(to: url)
    }

    func script(_ name: String, _ text: String) throws {
        try write(name, "#!/bin/sh\n\(text)\n")
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: "\(folder)/\(name)")
    }

    @discardableResult
    func run(_ command: String..., input: String = "") async throws -> String { try await run(command, input: input) }

    @discardableResult
    func run(_ command: [String], input: String = "") async throws -> String {
        let environment: [Environment.Key: String?] = [
            "HOME": "\(folder)/home", "GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_DATE": nil, "SSH_AUTH_SOCK": nil,
        ]
        let result = try await Subprocess.run(
            .path("/usr/bin/timeout"),
            arguments: Arguments(["60"] + command),
            environment: .inherit.updating(environment),
            workingDirectory: FilePath(folder),
            input: .string(input),
            output: .string(limit: 16 << 20),
            error: .string(limit: 1 << 20)
        )
        try #require(result.terminationStatus.isSuccess, "\(command.joined(separator: " ")): \(result.standardError)")
        return result.standardOutput.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// A bare repository `NAME.git` with these files as its first commit, and a checkout `NAME` to push from.
    @discardableResult
    func repository(_ name: String = "specs", _ files: [String: String] = ["state/a.yaml": "a"]) async throws -> String {
        try await run("git", "init", "-q", "--bare", "\(name).git")
        try await run("git", "clone", "-q", "\(name).git", name)
        return try await push(name, files)
    }

    /// Commits these files and pushes.
    ///
    /// - Returns: the commit.
    @discardableResult
    func push(_ name: String = "specs", _ files: [String: String] = [:], _ options: String...) async throws -> String {
        for (path, text) in files { try write("\(name)/\(path)", text) }
        try await run("git", "-C", name, "add", "-A")
        try await run(["git", "-C", name, "commit", "-q", "--allow-empty", "-m", "change"] + options)
        try await run("git", "-C", name, "push", "-q", "--force", "origin", "HEAD")
        return try await run("git", "-C", name, "rev-parse", "HEAD")
    }

    func url(_ name: String = "specs") -> String { "file://\(folder)/\(name).git" }

    func options(_ change: (inout GitOptions) -> Void = { _ in }) -> GitOptions {
        var options = GitOptions()
        options.program = "\(folder)/plumb"
        options.cacheDirectory = "\(folder)/data/git"
        options.timeout = .seconds(30)
        change(&options)
        return options
    }

    func read(
        _ location: GitLocation,
        unless known: String? = nil,
        expecting: String? = nil,
        signers: String? = nil,
        last: String? = nil,
        into: String? = nil,
        _ change: (inout GitOptions) -> Void = { _ in }
    ) async throws(GitFailure) -> GitReading {
        try await GitRepository(options: options(change)).read(
            location,
            unless: known,
            expecting: expecting,
            verify: signers.map { GitVerification(allowedSigners: "\(folder)/\($0)") },
            last: last,
            into: into
        )
    }

    /// A key `NAME`, and the line that allows it.
    func key(_ name: String, _ type: String = "ed25519", _ bits: String? = nil) async throws -> String {
        let size = bits.map { " -b \($0)" } ?? ""
        try await run("sh", "-c", "ssh-keygen -q -t \(type)\(size) -N '' -C \(name) -f \(name)")
        let text = try String(contentsOfFile: "\(folder)/\(name).pub", encoding: .utf8)
        return text.split(separator: " ").prefix(2).joined(separator: " ")
    }
}

extension GitReading {
    var tree: GitTree? { if case .read(let tree) = self { tree } else { nil } }
    var unchanged: String? { if case .unchanged(let commit) = self { commit } else { nil } }
}

extension GitTree {
    /// `PATH=CONTENTS` of each file.
    var texts: [String] { files.map { "\($0.path)=\(String(decoding: $0.bytes, as: UTF8.self))" } }
}

extension GitFailure? {
    /// Whether it is this one.
    func `is`(_ cause: GitFailure.Cause, _ words: String = "") -> Bool {
        guard let self else { return false }
        return self.cause == cause && (words.isEmpty || self.message.contains(words))
    }
}

/// What reading came to where it has to fail.
func failure(_ body: () async throws(GitFailure) -> GitReading) async -> GitFailure? {
    do throws(GitFailure) {
        let reading = try await body()
        Issue.record("it was read: \(reading)")
        return nil
    } catch {
        return error
    }
}

/// The `plumb` that was built with these tests.
let plumb: String = {
    let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    for folder in [own, Bundle.main.bundleURL, Bundle.main.bundleURL.deletingLastPathComponent()] {
        let path = folder.appendingPathComponent("plumb").path
        if FileManager.default.isExecutableFile(atPath: path) { return path }
    }
    return "plumb"
}()

/// A server that runs while `body` does: `git-server`, or sshd.
func withServer(_ command: [String], _ body: (_ port: Int) async throws -> Void) async throws {
    _ = try await Subprocess.run(
        .path("/usr/bin/env"),
        arguments: Arguments(command),
        input: .inputWriter,
        output: .sequence,
        error: .discarded
    ) { execution in
        // What it prints first is its port; its stdin stays open until we are done.
        var text = ""
        for try await part in execution.standardOutput {
            text += String(decoding: part.withUnsafeBytes { Array($0) }, as: UTF8.self)
            if text.contains("\n") { break }
        }
        let port = try #require(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)), "\(command[0]) said '\(text)'")
        try await body(port)
        try await execution.standardInputWriter.finish()
    }
}

let gitServer = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("git-server").path
