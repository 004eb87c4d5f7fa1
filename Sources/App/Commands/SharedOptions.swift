import ArgumentParser
import Foundation
import Planning
import Reconciling
import ResourceModel
import Stores

/// What `plan` and `apply` have in common.
struct SharedOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("The kubeconfig file (default: $KUBECONFIG, else ~/.kube/config; in a pod its service account).", valueName: "file")
    )
    var kubeconfig: String?

    @Option(help: ArgumentHelp("The kubeconfig context, for a Cluster whose spec names none.", valueName: "name"))
    var context: String?

    @Option(
        help: ArgumentHelp("The private key for SSH (default: ~/.ssh/config, the agent, then ~/.ssh/id_ed25519 and id_ecdsa).", valueName: "file")
    )
    var identity: String?

    @Option(
        name: .customLong("known-hosts"),
        help: ArgumentHelp("Known host keys (default: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts).", valueName: "file")
    )
    var knownHosts: String?

    @Option(
        name: .customLong("ssh-config"),
        help: ArgumentHelp("OpenSSH client configuration (default: ~/.ssh/config and /etc/ssh/ssh_config).", valueName: "file")
    )
    var sshConfig: String?

    @Option(help: ArgumentHelp("Targets asked or changed at the same time.", valueName: "n"))
    var concurrency = 32

    @Option(help: ArgumentHelp("How long one target may take to answer: 5s, 2m.", valueName: "duration"))
    var timeout = DurationArgument(.seconds(30))

    @Option(
        name: .customLong("max-deletes"),
        help: ArgumentHelp(
            "How many objects that are no longer declared may be deleted; with more, nothing at all is done. 0: none.",
            valueName: "n"
        )
    )
    var maxDeletes = defaultMaxDeletes

    @OptionGroup var dataDirectory: DataDirectoryOption

    @OptionGroup var git: GitSourceOptions

    @Option(
        name: .customLong("target"),
        help: ArgumentHelp(
            "Only this address, or what matches this glob ('*' also matches '/'), and what it depends on. May be repeated.",
            valueName: "address-or-glob"
        )
    )
    var targets: [String] = []

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    @Flag(name: .shortAndLong, help: "Show the steps of each change and what is as declared already.")
    var verbose = false

    func validate() throws {
        guard (1...10_000).contains(concurrency) else { throw ValidationError("--concurrency must be from 1 to 10000, not \(concurrency).") }
        guard maxDeletes >= 0 else { throw ValidationError("--max-deletes must be 0 or more, not \(maxDeletes).") }
    }

    var dataDirectoryPath: String? { dataDirectory.path }

    var sourceOptions: SourceOptions {
        SourceOptions(git, identity: identity, knownHosts: knownHosts, sshConfig: sshConfig, dataDirectory: dataDirectoryPath)
    }

    var selection: Selection { Selection(targets.map(AddressGlob.init)) }
}

struct DataDirectoryOption: ParsableArguments {
    @Option(
        name: .customLong("data-dir"),
        help: ArgumentHelp("Where Plumb keeps what it records (default: $STATE_DIRECTORY, else $XDG_STATE_HOME/plumb).", valueName: "dir")
    )
    var given: String?

    /// The data directory that applies; nil where not even a home is known.
    var path: String? {
        let environment = ProcessInfo.processInfo.environment
        if let given { return given }
        if let state = environment["STATE_DIRECTORY"], !state.isEmpty { return String(state.prefix { $0 != ":" }) }
        if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") { return "\(state)/plumb" }
        guard let home = environment["HOME"], home.hasPrefix("/") else { return nil }
        return "\(home)/.local/state/plumb"
    }

    /// - Throws: where nothing says which directory it is, or `--data-dir ""`.
    func requiredPath() throws(StoreFailure) -> String {
        guard let path, !path.isEmpty else {
            throw StoreFailure(
                "where Plumb keeps its journal is not known",
                fix: "Give --data-dir, or set $STATE_DIRECTORY, $XDG_STATE_HOME or $HOME to an absolute path."
            )
        }
        return path
    }
}

/// A duration as people write it: `500ms`, `5s`, `2m`, `1h`.
struct DurationArgument: ExpressibleByArgument, CustomStringConvertible {
    let value: Duration
    let description: String

    init(_ value: Duration) {
        self.value = value
        description = "\(value.components.seconds)s"
    }

    init?(argument: String) {
        let units: [(String, Duration)] = [("ms", .milliseconds(1)), ("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3600))]
        for (suffix, unit) in units where argument.hasSuffix(suffix) {
            guard let count = Int(argument.dropLast(suffix.count)), (1...1_000_000).contains(count) else { continue }
            value = unit * count
            description = argument
            return
        }
        return nil
    }

    var defaultValueDescription: String { description }
}
