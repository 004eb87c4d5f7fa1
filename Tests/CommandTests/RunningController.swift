import Foundation
import Glibc
import Testing
import Values

/// A `plumb run` of a test's own: its repository or folder of specs, its data directory, and how it stands.
final class RunningController {
    let lab: Lab
    /// Everything it has; a short path, since that of a socket has few bytes.
    let folder: String
    /// Says which source is followed, without the braces.
    var source = ""
    /// More of the configuration.
    var settings = ""
    private var process: Background?
    private var number = 0

    init(_ lab: Lab) throws {
        self.lab = lab
        folder = "/tmp/plumb-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: "\(folder)/specs", withIntermediateDirectories: true)
        source = "url: \(folder)/specs, poll: 1h"
    }

    deinit {
        process?.kill9()
        try? FileManager.default.removeItem(atPath: folder)
    }

    var data: String { "\(folder)/data" }
    var log: String { process?.errorOutput ?? "" }
    var pid: Int32 { process?.pid ?? 0 }

    struct Failure: Error, CustomStringConvertible { var description: String }

    // MARK: Its life

    /// Starts it and waits until it answers.
    func start() async throws {
        number += 1
        let file = "\(folder)/plumb-\(number).yaml"
        let cluster = "\(lab.folder)/api-server/kubeconfig"
        let operations = settings.contains("operations:") ? "" : "operations: {listen: none}\n"
        let text = """
            source: {\(source)}
            dataDirectory: \(data)
            kubernetes: {kubeconfig: \(cluster)}
            ssh: {config: \(lab.folder)/ssh_config, knownHosts: \(lab.folder)/known_hosts, identity: \(lab.folder)/identity}
            log: {level: debug}
            \(operations)\(settings)

            """
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        let started = try Background([CommandTests.plumb, "run", "--config", file])
        process = started
        _ = try await reaches("it answers") { _ in true }
    }

    /// - Returns: its exit status.
    func stop() -> Int32 {
        signal(SIGTERM)
        return process?.end() ?? -1
    }

    func kill9() { process?.kill9() }

    func signal(_ number: Int32) { if let process { kill(process.pid, number) } }

    // MARK: How it stands

    /// Waits until `plumb status` is as `condition` asks.
    ///
    /// - Throws: where it never is, with the last one there was and the end of the log.
    @discardableResult
    func reaches(_ what: String, within seconds: Int = 60, _ condition: (Value) -> Bool) async throws -> Value {
        let end = ContinuousClock.now + .seconds(seconds)
        var last = "no status"
        while ContinuousClock.now < end {
            let outcome = try await run([CommandTests.plumb, "status", "--output", "json", "--data-dir", data])
            last = outcome.output + outcome.errorOutput
            if outcome.status != 1, let status = try? outcome.document, condition(status) { return status }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw Failure(description: "'\(what)' never came about: \(last)\n\(log.suffix(4000))")
    }

    /// Waits until something of the world is so.
    func eventually(_ what: String, within seconds: Int = 60, _ condition: () async throws -> Bool) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw Failure(description: "'\(what)' never came about:\n\(log.suffix(4000))")
    }

    /// What was changed and went through, by address, from the journal.
    func changes() async throws -> [String: Int] {
        var counts: [String: Int] = [:]
        let history = try await command("history", "--output", "json", "--limit", "1000")
        for run in try history.document["runs"]?.arrayValue ?? [] {
            let detail = try await command("history", "\(run["id"]?.intValue ?? 0)", "--output", "json")
            for action in try detail.document[path: "run", "actions"]?.arrayValue ?? [] where action["outcome"] == "succeeded" {
                counts[action["address"]?.stringValue ?? "", default: 0] += 1
            }
        }
        return counts
    }

    /// A command of this data directory.
    @discardableResult
    func command(_ arguments: String..., expecting status: Int32 = 0) async throws -> Outcome {
        let outcome = try await run([CommandTests.plumb] + arguments + ["--data-dir", data])
        #expect(outcome.status == status, "plumb \(arguments.joined(separator: " ")): \(outcome.output) \(outcome.errorOutput)")
        return outcome
    }

    // MARK: Its source

    /// Writes specs into the folder that is followed, without git; a controller that runs looks at them at once.
    func write(_ files: [String: String]) throws {
        for (name, text) in files { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(folder)/specs/\(name)")) }
        signal(SIGHUP)
    }

    var bare: String { "\(folder)/infra.git" }
    private var checkout: String { "\(folder)/checkout" }

    /// An empty repository, which is followed from now on.
    func makeRepository(_ more: String = "") async throws {
        source = "url: file://\(bare), revision: main, poll: 1h\(more)"
        try await git("init", "--quiet", "--bare", "--initial-branch=main", bare)
        try await git("clone", "--quiet", bare, checkout)
    }

    func installHook() async throws { try await command("hook", "install", bare) }

    /// Commits and pushes.
    ///
    /// - Parameter files: nil: deleted.
    func push(_ files: [String: String?]) async throws -> Outcome {
        for (name, text) in files {
            let file = URL(fileURLWithPath: "\(checkout)/\(name)")
            if let text {
                try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                try Data(text.utf8).write(to: file)
            } else {
                try FileManager.default.removeItem(at: file)
            }
        }
        try await git("-C", checkout, "add", "--all")
        try await git("-C", checkout, "commit", "--quiet", "--message", "specs")
        return try await git("-C", checkout, "push", "--quiet", "origin", "HEAD:main")
    }

    /// Commits on a branch of its own from what `main` is here, and pushes it as a reference; the checkout is as before afterwards.
    ///
    /// - Parameters:
    ///   - reference: `refs/heads/feature`; for a fork's, where the forge keeps it.
    ///   - start: nil: `main`; else what was proposed there before.
    /// - Returns: the commit.
    @discardableResult
    func propose(_ files: [String: String], as reference: String, after start: String? = nil) async throws -> String {
        let main = try await head()
        try await git("-C", checkout, "checkout", "--quiet", "--detach", start ?? main)
        for (name, text) in files { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(checkout)/\(name)")) }
        try await git("-C", checkout, "add", "--all")
        try await git("-C", checkout, "commit", "--quiet", "--allow-empty", "--message", "proposed")
        try await git("-C", checkout, "push", "--quiet", "--force", "origin", "HEAD:\(reference)")
        let commit = try await head()
        try await git("-C", checkout, "checkout", "--quiet", "main")
        return commit
    }

    func head() async throws -> String {
        try await git("-C", checkout, "rev-parse", "HEAD").output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    @discardableResult
    private func git(_ arguments: String...) async throws -> Outcome {
        var variables = ["HOME": folder, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"]
        for role in ["AUTHOR", "COMMITTER"] {
            variables["GIT_\(role)_NAME"] = "A"
            variables["GIT_\(role)_EMAIL"] = "a@example.com"
        }
        let outcome = try await run(["git"] + arguments, environment: variables, folder: folder)
        #expect(outcome.status == 0, "git \(arguments.joined(separator: " ")): \(outcome.errorOutput)")
        return outcome
    }
}

/// The document of `plumb status`.
extension Value {
    func target(_ name: String) -> Value? { self["targets"]?.arrayValue?.first { $0["name"]?.stringValue == name } }

    /// In sync, and its events arrive.
    func isHeld(_ names: String...) -> Bool {
        names.allSatisfy { target($0)?["standing"] == "inSync" && target($0)?["isFollowed"] == true && target($0)?.openMessages == [] }
    }

    /// What is open at a target, as `STATUS ADDRESS: MESSAGE`.
    var openMessages: [String] {
        (self["open"]?.arrayValue ?? []).map {
            "\($0["status"]?.stringValue ?? "") \($0["address"]?.stringValue ?? ""): \($0["message"]?.stringValue ?? "")"
        }
    }

    func open(_ name: String, beginsWith beginning: String) -> String? { target(name)?.openMessages.first { $0.hasPrefix(beginning) } }

    var mistakes: [String] { (self[path: "source", "mistakes"]?.arrayValue ?? []).compactMap(\.stringValue) }
    var revision: String? { self[path: "source", "revision"]?.stringValue }
}

extension Lab {
    func setPromiscuous(_ host: String, _ isOn: Bool) async throws {
        try await lab("exec", host, "/usr/sbin/ip", "link", "set", "wlan0", "promisc", isOn ? "on" : "off")
    }

    func mtu(_ host: String) async throws -> Int64? { try await link(host, "wlan0")["mtu"]?.intValue }
}
