internal import SSH
internal import Synchronization

/// How a host is reached, as the specs say it.
package struct HostLogin: Hashable, Sendable {
    /// As the specs call it, for messages.
    package var name: String
    /// Host name or IP address.
    package var address: String
    /// TCP port of sshd; nil: what the ssh configuration says, else 22.
    package var port: Int?
    /// nil: what the ssh configuration says, else the name of the person who runs Plumb.
    package var user: String?
    /// `become: sudo`: commands that need root go through `sudo -n`, unless we are root already.
    package var usesSudo: Bool
    /// Pinned host keys, `TYPE BASE64`. Where there are any, known_hosts is not asked.
    package var hostKeys: [String]

    package init(name: String, address: String, port: Int? = nil, user: String? = nil, usesSudo: Bool = false, hostKeys: [String] = []) {
        self.name = name
        self.address = address
        self.port = port
        self.user = user
        self.usesSudo = usesSudo
        self.hostKeys = hostKeys
    }
}

/// Why a host gave no answer.
package struct HostFailure: Error, Hashable, Sendable {
    package enum Cause: Hashable, Sendable {
        /// No connection, or no answer in time.
        case unreachable
        /// No trust in its key, or it lets us not in, or not far enough.
        case denied
        /// It answered something that can't be understood.
        case unknown
        /// Its own `/etc/plumb/pause` is there: nothing was done.
        case paused
    }

    package var cause: Cause
    /// What happened, why, and what to do, in plain words.
    package var message: String

    package init(_ cause: Cause, _ message: String) {
        self.cause = cause
        self.message = message
    }
}

/// A read-only part of a probe: constant POSIX `sh`. `$SUDO` stands before a command that needs root.
package struct HostSection: Hashable, Sendable {
    package var name: String
    package var script: String

    package init(name: String, script: String) {
        self.name = name
        self.script = script
    }
}

package struct CommandResult: Hashable, Sendable {
    package var status: Int32
    package var output: String
    package var errorOutput: String

    package init(status: Int32, output: String, errorOutput: String) {
        self.status = status
        self.output = output
        self.errorOutput = errorOutput
    }
}

/// What a host answered to a probe.
package struct HostAnswer: Hashable, Sendable {
    /// By the sections' names.
    package var sections: [String: CommandResult]
    /// `SHA256:…` of the key the host proved to have.
    package var hostKeyFingerprint: String
    /// What a person should know: options of the ssh configuration that were not honoured, for one.
    package var notes: [String]
}

/// Arguments are data and never become shell text. `input` is the command's whole standard input.
package struct HostCommand: Hashable, Sendable {
    package var arguments: [String]
    package var input: String?
    /// Through `sudo -n` where the login asks for it and is not root.
    package var needsRoot: Bool
    /// Not run while the host is paused by its own `/etc/plumb/pause`. False for what changes nothing, and for what ends a change that has begun.
    package var heedsPause: Bool

    package init(arguments: [String], input: String? = nil, needsRoot: Bool = true, heedsPause: Bool = true) {
        self.arguments = arguments
        self.input = input
        self.needsRoot = needsRoot
        self.heedsPause = heedsPause
    }
}

package struct HostPoolOptions: Sendable {
    /// `--identity`.
    package var identityFile: String?
    /// `--known-hosts`.
    package var knownHostsFile: String?
    /// `--ssh-config`; nil: OpenSSH's own files.
    package var sshConfigFile: String?
    /// Until a host has let us in, in all.
    package var connectTimeout: Duration = .seconds(15)
    /// For one probe, once connected.
    package var probeTimeout: Duration = .seconds(30)
    /// For one step.
    package var stepTimeout: Duration = .seconds(60)
    /// Where resolved ssh configurations may be cached; nil: nowhere.
    package var cacheDirectory: String?
    /// How hosts are kept from others.
    var holds = HoldProgram()
    /// How hosts tell what happens on them.
    var monitor = MonitorProgram()
    var monitorLimits = MonitorReader.Limits()
    /// The brake on hosts.
    var pauseFile = PauseFile.path
    /// Asks the person at the terminal for a key's passphrase; nil: there is nobody.
    package var askPassphrase: @Sendable (_ prompt: String) -> String? = { _ in nil }

    package init() {}
}

/// All hosts of a run: one connection and one resident shell each, opened when first needed, kept until `close()`.
package final class HostPool: Sendable {
    let options: HostPoolOptions
    let client: SSHClient
    private let hosts = Mutex<[HostLogin: HostConnection]>([:])
    /// The undo that this pool has armed on a host.
    private let ownUndos = Mutex<[HostLogin: String]>([:])

    package init(options: HostPoolOptions) {
        self.options = options
        var ssh = SSHOptions()
        ssh.identityFile = options.identityFile
        ssh.knownHostsFile = options.knownHostsFile
        ssh.configFile = options.sshConfigFile
        ssh.connectTimeout = options.connectTimeout
        ssh.cacheDirectory = options.cacheDirectory
        ssh.askPassphrase = options.askPassphrase
        client = SSHClient(ssh)
    }

    /// Runs all sections in one round trip.
    ///
    /// - Guarantees: ends within the connect and probe time-outs, whatever the host does. Changes nothing there.
    package func probe(_ login: HostLogin, sections: [HostSection]) async throws(HostFailure) -> HostAnswer {
        try await host(login).probe(sections)
    }

    /// Runs one command. A status other than 0 is a result, no failure. It fails with `paused`, and nothing is run, where the host is and the command heeds it.
    ///
    /// - Errors: where the connection is lost or the time is over, the message says that it may have happened.
    package func run(_ login: HostLogin, _ command: HostCommand) async throws(HostFailure) -> CommandResult {
        try await host(login).run(command)
    }

    /// Closes the connection; the next call opens a new one, which proves that the host can be reached.
    package func reconnect(_ login: HostLogin) async { await host(login).reconnect() }

    /// How long calls may take once connected, counted from now and for all of them together; nil: as the options say.
    func limit(_ login: HostLogin, to duration: Duration?) async { await host(login).limit(to: duration) }

    func ownUndo(of login: HostLogin) -> String? { ownUndos.withLock { $0[login] } }

    func setOwnUndo(_ undo: String?, of login: HostLogin) { ownUndos.withLock { $0[login] = undo } }

    /// Ends all connections, within a second whatever the other sides do.
    package func close() async {
        for host in hosts.withLock({ $0 }).values { await host.close() }
        await client.close()
    }

    func host(_ login: HostLogin) -> HostConnection {
        hosts.withLock { hosts in
            if let host = hosts[login] { return host }
            let host = HostConnection(login, client: client, options: options)
            hosts[login] = host
            return host
        }
    }
}
