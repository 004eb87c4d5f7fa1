import Foundation
import Subprocess
import Testing
import Values

#if canImport(System)
import System
#else
import SystemPackage
#endif

/// How a process ended and what it said.
struct Outcome {
    var status: Int32
    var output: String
    var errorOutput: String

    /// The single JSON document on stdout.
    var document: Value { get throws { try Value(json: output.utf8) } }

    /// The JSON lines on stdout.
    var lines: [Value] { get throws { try output.split(separator: "\n").map { try Value(json: $0.utf8) } } }
}

/// Runs a command to its end; bounded, so that a test never hangs on what it tests.
func run(_ command: [String], environment: [String: String] = [:], folder: String? = nil, seconds: Int = 120) async throws -> Outcome {
    var variables: [Environment.Key: String] = [:]
    for (name, value) in environment { variables[Environment.Key(rawValue: name) ?? "PLUMB_TEST"] = value }
    let result = try await Subprocess.run(
        .path("/usr/bin/timeout"),
        arguments: Arguments(["--kill-after=5", String(seconds)] + command),
        environment: .inherit.updating(variables.mapValues(Optional.some)),
        workingDirectory: folder.map { FilePath($0) },
        output: .string(limit: 64 << 20),
        error: .string(limit: 64 << 20)
    )
    let status: Int32
    switch result.terminationStatus {
    case .exited(let code): status = code
    case .signaled(let signal): status = 128 + signal
    }
    return Outcome(status: status, output: result.standardOutput, errorOutput: result.standardError)
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

/// The lab that `Tests/run` starts around the tests: see Tests/Lab/README.md.
struct Lab {
    let folder: String
    /// A data directory of each test's own: names of hosts are used again, for other machines.
    private let data: String
    private let sshConfig: String
    private let knownHosts: String
    private let identity: String

    struct Missing: Error, CustomStringConvertible {
        let description = "this test needs the lab: run it with Tests/run --filter CommandTests"
    }

    /// - Throws: where there is no lab. A test that can't run has failed.
    init() throws {
        let environment = ProcessInfo.processInfo.environment
        guard let folder = environment["LAB"], let sshConfig = environment["LAB_SSH_CONFIG"], let knownHosts = environment["LAB_KNOWN_HOSTS"],
            let identity = environment["LAB_IDENTITY"]
        else { throw Missing() }
        self.folder = folder
        data = "\(folder)/data/\(UUID().uuidString)"
        self.sshConfig = sshConfig
        self.knownHosts = knownHosts
        self.identity = identity
    }

    @discardableResult
    func lab(_ arguments: String...) async throws -> Outcome {
        let outcome = try await run(["lab"] + arguments)
        #expect(outcome.status == 0, "lab \(arguments.joined(separator: " ")): \(outcome.errorOutput)")
        return outcome
    }

    /// A host of this test's own, gone when `body` ends.
    func withHost(_ name: String, like variant: String? = nil, drift: Bool = false, _ body: () async throws -> Void) async throws {
        try await lab(["add", name] + (variant.map { ["--like", $0] } ?? []) + (drift ? ["--drift"] : []))
        do {
            try await body()
            try await lab("remove", name)
        } catch {
            try await lab("remove", name)
            throw error
        }
    }

    private func lab(_ arguments: [String]) async throws {
        let outcome = try await run(["lab"] + arguments)
        #expect(outcome.status == 0, "lab \(arguments.joined(separator: " ")): \(outcome.errorOutput)")
    }

    /// A folder with these specs, gone when `body` ends.
    func withSpecs(_ files: [String: String], _ body: (_ source: String) async throws -> Void) async throws {
        let source = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-specs-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: source, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: source) }
        for (name, text) in files { try Data(text.utf8).write(to: source.appendingPathComponent(name)) }
        try await body(source.path)
    }

    /// Runs `plumb` with the lab's keys and a data directory of its own.
    func plumb(
        _ arguments: [String],
        known: String? = nil,
        data: String? = nil,
        environment: [String: String] = [:],
        folder: String? = nil
    ) async throws -> Outcome {
        try await run(commandLine(arguments, known: known, data: data), environment: environment, folder: folder)
    }

    /// - Parameter data: the data directory; nil: this test's.
    func commandLine(_ arguments: [String], known: String? = nil, data: String? = nil) -> [String] {
        let options = [
            "--ssh-config", sshConfig, "--known-hosts", known ?? knownHosts, "--identity", identity, "--data-dir", data ?? self.data,
        ]
        return [CommandTests.plumb] + arguments + options
    }

    static func hosts(_ names: [String], user: String = "pi", become: String = "sudo") -> String {
        var text = "apiVersion: plumb/v1\nkind: HostList\nmetadata: {name: lab}\nspec:\n  defaults: {user: \(user), become: \(become)}\n  hosts:\n"
        for name in names { text += "    \(name): {}\n" }
        return text
    }

    static let cluster = "---\napiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {context: home}\n"

    /// A `plumb/v1` spec for all hosts.
    static func spec(_ kind: String, _ fields: String, name: String? = nil, annotations: String = "{}") -> String {
        """
        ---
        apiVersion: plumb/v1
        kind: \(kind)
        metadata: {name: \(name ?? kind.lowercased()), annotations: \(annotations)}
        spec: {hosts: all, \(fields)}

        """
    }

    static let promiscuous = spec("NetworkInterface", "interfaces: [wlan0], flags: {promiscuous: true}")
    static let leftovers = spec("IptablesChain", "table: nat, chains: [OLD_CILIUM_POST_nat]")
    static let ubuntu = spec("OperatingSystem", "distribution: ubuntu, version: {atLeast: \"24.04\"}, addressBits: {atLeast: 48}")
}

extension Value {
    /// The problems of a plan's document, as `PLACE STATUS`.
    var problems: [String] {
        (self["problems"]?.arrayValue ?? []).map {
            "\($0["address"]?.stringValue ?? $0["target"]?.stringValue ?? "") \($0["status"]?.stringValue ?? "")"
        }
    }

    /// The changes of a plan's document, as `ADDRESS ACTION`.
    var changes: [String] {
        (self["changes"]?.arrayValue ?? []).map { "\($0["address"]?.stringValue ?? "") \($0["action"]?.stringValue ?? "")" }
    }

    func message(of target: String) -> String {
        (self["problems"]?.arrayValue ?? []).first { $0["target"]?.stringValue == target }?["message"]?.stringValue ?? ""
    }
}
