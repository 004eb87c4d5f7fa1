import ArgumentParser
import HostKinds
import Hosts
import Reporting
import ResourceModel

struct SudoersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sudoers",
        abstract: "Print the sudo rights that the specs need on a host; nothing is contacted.",
        discussion: """
            The lines allow exact commands and no others, each with what it is for. Put them on the host when visudo finds nothing wrong:
              plumb sudoers pi-1 > plumb && visudo -cf plumb && install -m 0440 plumb /etc/sudoers.d/plumb
            When the specs of that host change, print them anew. Exit status: 0; 1 where the specs are wrong or have no such host.
            """
    )

    @Argument(help: "The host's name in the specs.")
    var name: String

    @Argument(help: "A folder of YAML files, one file, or a git URL.")
    var source = Source.defaultPath

    @Option(help: ArgumentHelp("The login on the host, where the spec names none.", valueName: "name"))
    var user: String?

    @OptionGroup var git: GitSourceOptions

    @Flag(name: .customLong("allow-undo"), help: "Changes that may cut the connection, too: that takes as much as all of root's rights.")
    var allowsUndo = false

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func validate() throws {
        if let user, !Self.isName(user) { throw ValidationError("--user takes a login name, not '\(user)'.") }
    }

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        let sources = SourceOptions(git, identity: nil, knownHosts: nil, sshConfig: nil, dataDirectory: nil)
        let desired = try await Source.load(source, options: sources, contextIsGiven: true, terminal: terminal).desired
        func refuse(_ message: String, _ fix: String) -> any Error {
            terminal.writeError("\(terminal.errors.errorWord): \(message)\n    \(fix)\n")
            return ExitCode(1)
        }
        let hosts = desired.targets.compactMap { if case .host(let host) = $0 { host } else { nil } }
        guard let host = hosts.first(where: { $0.name == name }) else {
            let nearest = Diagnostic.nearest(to: name, among: hosts.map(\.name)).map { "Did you mean '\($0)'? " } ?? ""
            let known = Escaping.shown(hosts.map(\.name).sorted().joined(separator: ", "))
            throw refuse("'\(Escaping.shown(name))' is no host of the specs", "\(nearest)There are: \(known).")
        }
        guard let user = user ?? host.user else {
            throw refuse("the spec of \(name) does not say who logs in there", "Give it 'user: NAME', or give --user NAME here.")
        }
        if user == "root" { throw refuse("root logs in to \(name) and needs no sudo", "Give the host another 'user' and 'become: sudo'.") }
        if host.become == .none {
            throw refuse("'\(user)' never calls sudo on \(name)", "Give the host 'become: sudo'; without it only what needs no root can be asserted.")
        }
        let pool = HostPool(options: HostPoolOptions())
        let rights = SudoRights(
            of: desired.resources.filter { $0.address.target == name },
            user: user,
            holding: pool.holdCommands,
            canUndo: allowsUndo
        )
        await pool.close()
        terminal.write(
            rights.text(heading: [
                "Printed by 'plumb sudoers \(name)': what Plumb needs as '\(user)' on \(name), for the specs as they are now.",
                "Check it with 'visudo -cf FILE'; its place is /etc/sudoers.d/plumb (a name without a dot), root's, mode 0440.",
            ])
        )
    }

    private static func isName(_ text: String) -> Bool {
        guard (1...64).contains(text.utf8.count), let first = text.utf8.first, !"-.".utf8.contains(first) else { return false }
        return text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: "._-".utf8.contains(byte)
            }
        }
    }
}
