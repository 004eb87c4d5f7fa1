import ArgumentParser
import ResourceModel

struct ValidateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate",
        abstract: "Check the specs; nothing is contacted but the repository that they are in.",
        discussion: "Every mistake is reported as FILE:LINE:COLUMN with how to mend it. Exit status: 0, or 1 where there is a mistake."
    )

    @Argument(help: "A folder of YAML files, one file, or a git URL.")
    var source = Source.defaultPath

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    @OptionGroup var git: GitSourceOptions

    @Option(help: ArgumentHelp("With a git URL over ssh: the private key.", valueName: "file"))
    var identity: String?

    @Option(name: .customLong("known-hosts"), help: ArgumentHelp("With a git URL over ssh: known host keys.", valueName: "file"))
    var knownHosts: String?

    @Option(name: .customLong("ssh-config"), help: ArgumentHelp("With a git URL over ssh: OpenSSH client configuration.", valueName: "file"))
    var sshConfig: String?

    @OptionGroup var dataDirectory: DataDirectoryOption

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        let sources = SourceOptions(git, identity: identity, knownHosts: knownHosts, sshConfig: sshConfig, dataDirectory: dataDirectory.path)
        // The context is a matter of the machine that plans; specs that leave it open are valid.
        let loaded = try await Source.load(source, options: sources, contextIsGiven: true, terminal: terminal)
        let desired = loaded.desired
        for note in desired.notes { terminal.writeError("note: \(note)\n") }
        let hosts = desired.targets.count { if case .host = $0 { true } else { false } }
        let clusters = desired.targets.count - hosts
        terminal.write(
            "\(loaded.shown)\(loaded.revision.map { " at \($0)" } ?? ""): valid. \(count(hosts, "host")), \(count(clusters, "cluster")), \(count(desired.resources.count, "resource")).\n"
        )
    }

    private func count(_ number: Int, _ word: String) -> String { number == 1 ? "1 \(word)" : "\(number) \(word)s" }
}
