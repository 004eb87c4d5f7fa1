import ArgumentParser
import Hosts
import Reporting
import ResourceModel

struct HostKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "host-key",
        abstract: "Show which key a host of the specs has, and how to trust it.",
        discussion: """
            Connects as a plan would and goes no further than the key exchange: nobody logs in. What comes back over the network proves nothing
            by itself, so compare the fingerprint with what the machine's own console shows before you trust it.
            Exit status: 0 when the host showed a key, else 1.
            """
    )

    @Argument(help: "The host's name in the specs.")
    var name: String

    @Argument(help: "A folder of YAML files, one file, or a git URL.")
    var source = Source.defaultPath

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

    @Option(help: ArgumentHelp("The private key for a jump host on the way, if there is one.", valueName: "file"))
    var identity: String?

    @Option(help: ArgumentHelp("How long the host may take to answer: 5s, 2m.", valueName: "duration"))
    var timeout = DurationArgument(.seconds(10))

    @OptionGroup var dataDirectory: DataDirectoryOption

    @OptionGroup var git: GitSourceOptions

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        // A context is of no interest here.
        let sources = SourceOptions(git, identity: identity, knownHosts: knownHosts, sshConfig: sshConfig, dataDirectory: dataDirectory.path)
        let desired = try await Source.load(source, options: sources, contextIsGiven: true, terminal: terminal).desired
        let hosts = desired.targets.compactMap { if case .host(let host) = $0 { host } else { nil } }
        guard let host = hosts.first(where: { $0.name == name }) else {
            terminal.writeError("\(terminal.errors.errorWord): '\(Escaping.shown(name))' is no host of the specs\n")
            let nearest = Diagnostic.nearest(to: name, among: hosts.map(\.name)).map { "Did you mean '\($0)'? " } ?? ""
            terminal.writeError("    \(nearest)There are: \(Escaping.shown(hosts.map(\.name).sorted().joined(separator: ", "))).\n")
            throw ExitCode(1)
        }
        var options = HostPoolOptions()
        options.knownHostsFile = knownHosts
        options.sshConfigFile = sshConfig
        options.identityFile = identity
        options.connectTimeout = timeout.value
        options.cacheDirectory = dataDirectory.path.map { "\($0)/ssh-config" }
        options.askPassphrase = { Terminal.askSecret($0) }
        let pool = HostPool(options: options)
        do throws(HostFailure) {
            let (place, keys) = try await pool.hostKeys(of: HostLogin(host))
            await pool.close()
            terminal.write(Self.text(place: place, keys, style: terminal.output))
        } catch {
            await pool.close()
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.lines(error.message, indent: "    "))\n")
            throw ExitCode(1)
        }
    }

    private static func text(place: String, _ keys: [HostKey], style: Style) -> String {
        var text = ""
        for key in keys {
            text += "\(Escaping.shown(place)) showed the host key\n  \(style.bold(key.fingerprint)) (\(Escaping.shown(key.type)))\n"
            switch key.standing {
            case .trusted(let place): text += "  It is trusted: \(Escaping.shown(place)).\n"
            case .unknown: text += "  It is not known yet.\n"
            case .refused(let message): text += "  \(style.boldRed("It is not trusted:")) \(Escaping.lines(message, indent: "  "))\n"
            }
        }
        text += "\nAnybody on the way could show a key. Compare it with what the machine's own console shows:\n"
        for key in keys {
            let file = key.type == "ssh-rsa" ? "rsa" : key.type.hasPrefix("ecdsa") ? "ecdsa" : "ed25519"
            text += "  ssh-keygen -lf /etc/ssh/ssh_host_\(file)_key.pub\n"
        }
        if let best = keys.first {
            text += "Only if it is the same, pin it in the host's spec:\n  hostKeys: [\"\(Escaping.shown(best.text))\"]\n"
        }
        return text
    }
}
