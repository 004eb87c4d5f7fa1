import Foundation
import Values

/// The hosts, specs and data directory of one trial. What it does goes through the public commands and the lab's verbs.
struct World: Sendable {
    /// Specs and data directory are in it.
    let folder: String
    let hosts: [String]
    /// Of the environment, for Plumb.
    var variables: [String: String?] = [:]

    private let environment = ProcessInfo.processInfo.environment

    init(_ name: String, hosts: [String]) throws {
        folder = "\(environment["LAB"] ?? "")/faults/\(name)"
        self.hosts = hosts
        try FileManager.default.createDirectory(atPath: "\(folder)/specs", withIntermediateDirectories: true)
    }

    var lab: String { environment["LAB"] ?? "" }
    var data: String { "\(folder)/data" }
    var specs: String { "\(folder)/specs" }

    func remove() { try? FileManager.default.removeItem(atPath: folder) }

    func write(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: "\(specs)/specs.yaml")) }

    // MARK: Plumb

    /// The `plumb` that was built with this program.
    private static let program: String = {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        return own.appendingPathComponent("plumb").path
    }()

    func commandLine(_ arguments: [String], data other: String? = nil) -> [String] {
        var command = [Self.program] + arguments + ["--data-dir", other ?? data]
        if ["plan", "apply"].contains(arguments.first) {
            command += ["--ssh-config", "\(lab)/ssh_config", "--known-hosts", "\(lab)/known_hosts", "--identity", "\(lab)/identity"]
        }
        return command
    }

    func start(_ arguments: [String], data other: String? = nil) throws -> Child {
        try Child(commandLine(arguments, data: other), environment: variables)
    }

    /// The controller, which has all the rest in its configuration.
    func run(_ configuration: String) throws -> Child { try Child([Self.program, "run", "--config", configuration], environment: variables) }

    func plumb(_ arguments: [String], data other: String? = nil, limit: Double = 120) throws -> Outcome {
        try start(arguments, data: other).end(limit: limit)
    }

    func apply(_ more: String..., data other: String? = nil) -> [String] { ["apply", specs, "--yes", "--output", "jsonl"] + more }

    /// The journal's runs, oldest first; with the actions where `number` says which run.
    func runs() throws -> [Value] { try plumb(["history", "--output", "json", "--limit", "1000"]).document?["runs"]?.arrayValue?.reversed() ?? [] }

    func actions(ofRun number: Int64) throws -> [Value] {
        try plumb(["history", "\(number)", "--output", "json"]).document?["run"]?["actions"]?.arrayValue ?? []
    }

    // MARK: The lab

    @discardableResult
    func lab(_ arguments: String...) throws -> Outcome { try Child(["lab"] + arguments).end(limit: 60) }

    /// A script as root on a host, past SSH.
    @discardableResult
    func on(_ host: String, _ script: String) throws -> String { try Child(["lab", "exec", host, "sh", "-c", script]).end(limit: 60).output }

    /// Runs the same verbs on all hosts at once.
    func onAll(_ verbs: [String]) throws {
        for verb in verbs {
            let children = try hosts.map { try Child(["lab", verb, $0]) }
            for child in children {
                let outcome = child.end(limit: 60)
                guard outcome.status == 0 else { throw LabFailure(description: "lab \(verb): \(outcome.said)") }
            }
        }
    }

    /// The kernel state that specs are about and what stands beside it, without counters.
    func state(of host: String) throws -> String {
        try on(
            host,
            """
            for device in eth0 wlan0; do ip -o link show "$device" | sed 's/.*: \\([a-z0-9]*\\)@/\\1 /; s/ link.*//; s/,LOWER_UP//'; done
            ip -4 route show; ip -o -4 addr show dev eth0 | sed 's/valid_lft.*//'
            for tool in iptables-nft ip6tables-nft iptables-legacy ip6tables-legacy; do
                echo "# $tool"; "$tool-save" 2>/dev/null | grep -v '^#' | sed 's/ \\[[0-9:]*\\]$//' | grep -v '^:[A-Z]* ACCEPT$\\|^\\*\\|^COMMIT$'
            done
            """
        )
    }
}

struct LabFailure: Error, CustomStringConvertible { var description: String }

/// Specs as people write them.
enum Specs {
    static func hosts(_ names: [String]) -> String {
        "apiVersion: plumb/v1\nkind: HostList\nmetadata: {name: lab}\nspec:\n  defaults: {user: pi, become: sudo}\n  hosts:\n"
            + names.map { "    \($0): {}\n" }.joined()
    }

    static let cluster = "---\napiVersion: plumb/v1\nkind: Cluster\nmetadata: {name: home}\nspec: {context: home}\n"

    static func spec(_ kind: String, _ name: String, _ fields: String, annotations: String = "{}") -> String {
        "---\napiVersion: plumb/v1\nkind: \(kind)\nmetadata: {name: \(name), annotations: \(annotations)}\nspec: {\(fields)}\n"
    }

    static func object(_ kind: String, _ name: String, namespace: String?, _ rest: String) -> String {
        "---\napiVersion: v1\nkind: \(kind)\nmetadata: {name: \(name)\(namespace.map { ", namespace: \($0)" } ?? "")}\n\(rest)"
    }

    static let promiscuous = spec("NetworkInterface", "promiscuous", "hosts: all, interfaces: [wlan0], flags: {promiscuous: true}")
    static let leftovers =
        spec("IptablesChain", "leftovers", "hosts: all, table: nat, chains: [OLD_CILIUM_POST_nat]")
        + spec("IptablesChain", "old", "hosts: all, table: raw, chains: [OLD_CILIUM_PRE_raw]")

    /// Comes in over SSH: the change can cut the connection, so that its undo is armed first.
    static func mtu(_ host: String) -> String { spec("NetworkInterface", "mtu", "hosts: {names: [\(host)]}, interfaces: [eth0], mtu: 1400") }
}
