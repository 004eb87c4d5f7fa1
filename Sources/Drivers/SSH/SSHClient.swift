internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Whom to reach, as the specs say it; the ssh configuration fills in what is nil.
package struct SSHLogin: Hashable, Sendable {
    package var name: String
    package var address: String
    package var port: Int?
    package var user: String?
    /// Pinned host keys, `TYPE BASE64`.
    package var hostKeys: [String]

    package init(name: String, address: String, port: Int? = nil, user: String? = nil, hostKeys: [String] = []) {
        self.name = name
        self.address = address
        self.port = port
        self.user = user
        self.hostKeys = hostKeys
    }
}

package struct SSHOptions: Sendable {
    package var identityFile: String?
    package var knownHostsFile: String?
    package var configFile: String?
    package var connectTimeout: Duration = .seconds(15)
    package var cacheDirectory: String?
    package var askPassphrase: @Sendable (_ prompt: String) -> String? = { _ in nil }

    package init() {}
}

/// A connection that has let us in.
package struct SSHConnection: Sendable {
    package var session: SSHSession
    package var user: String
    package var hostKeyFingerprint: String
    package var notes: [String]
}

/// Opens connections. What they share is here: keys and passphrases, known hosts, the ssh configuration, bastions.
package final class SSHClient: Sendable {
    private let options: SSHOptions
    private let keys: KeyRing
    private let knownHosts = KnownHostsFiles()
    private let openSSH: OpenSSHConfiguration
    private let bastions = Mutex<[[HostConfiguration.Jump]: Bastion]>([:])
    private let gates = Gates(limit: 8)

    /// Two threads carry all sessions: the work is a few milliseconds a host, and they never wait. They live as long as the process.
    private static let eventLoops = MultiThreadedEventLoopGroup(numberOfThreads: 2)

    package init(_ options: SSHOptions) {
        self.options = options
        keys = KeyRing(askPassphrase: options.askPassphrase)
        openSSH = OpenSSHConfiguration(options)
    }

    package func connect(_ login: SSHLogin) async throws(SSHFailure) -> SSHConnection {
        var configuration = try await openSSH.configuration(of: login)
        configuration.jumps = try await route(to: login, configuration)
        return try await connect(login, configuration)
    }

    /// Ends the connections to bastions; the others belong to who opened them.
    package func close() async {
        for bastion in bastions.withLock({ $0 }).values { await bastion.close() }
    }

    /// How a host is reached, and which keys it may have.
    func trust(of login: SSHLogin) async throws(SSHFailure) -> (HostConfiguration, HostTrust) {
        var configuration = try await openSSH.configuration(of: login)
        configuration.jumps = try await route(to: login, configuration)
        return (configuration, try trust(of: login, configuration))
    }

    private func trust(of login: SSHLogin, _ configuration: HostConfiguration) throws(SSHFailure) -> HostTrust {
        let place = configuration.place(of: login)
        return HostTrust(
            pins: try pins(of: login, place: place),
            knownHosts: try knownHosts.read(configuration.knownHostsFiles),
            name: configuration.knownHostsName,
            place: place,
            hints: configuration.trustHints
        )
    }

    func limit(of configuration: HostConfiguration) -> Duration {
        min(configuration.connectTimeout ?? options.connectTimeout, options.connectTimeout)
    }

    private func connect(_ login: SSHLogin, _ configuration: HostConfiguration) async throws(SSHFailure) -> SSHConnection {
        let trust = try trust(of: login, configuration)
        let place = trust.place
        let bastion = bastion(for: configuration.jumps)
        let authentication = await Authentication(configuration, keys: keys, on: Self.eventLoops.next())
        let server = configuration.jumps.map(\.host).joined(separator: " ") + " \(configuration.hostName):\(configuration.port)"
        await gates.enter(server)
        defer { gates.leave(server) }
        let limit = limit(of: configuration)
        let end = ContinuousClock.now + limit
        let session: SSHSession
        do throws(SSHFailure) {
            session = try await attempt(configuration, place, trust, authentication, bastion, limit: limit)
        } catch  where error.isTurnedAway {
            // sshd drops connections at random while too many are logging in; the next one usually gets through.
            let pause = Duration.milliseconds(Int.random(in: 200...800))
            guard ContinuousClock.now + pause * 2 < end else { throw error }
            try? await Task.sleep(for: pause)
            session = try await attempt(configuration, place, trust, authentication, bastion, limit: end - .now)
        }
        return SSHConnection(
            session: session,
            user: configuration.user,
            hostKeyFingerprint: await session.hostKey?.fingerprint ?? "",
            notes: configuration.notes + trust.knownHosts.notes
        )
    }

    private func attempt(
        _ configuration: HostConfiguration,
        _ place: String,
        _ trust: HostTrust,
        _ authentication: Authentication,
        _ bastion: Bastion?,
        limit: Duration
    ) async throws(SSHFailure) -> SSHSession {
        let session = try await dial(configuration, place, bastion, limit: limit)
        do throws(SSHFailure) {
            try await session.establish(trust)
            try await authentication.logIn(session, limit: limit)
            await session.stopDeadline()
            return session
        } catch {
            await session.fail(error)
            // What ended the session first says more than what came of it.
            throw await session.failure ?? error
        }
    }

    /// A session with a way to its host, on which nothing has been said; it ends after `limit`, unless its deadline is stopped.
    func dial(_ configuration: HostConfiguration, _ place: String, _ bastion: Bastion?, limit: Duration) async throws(SSHFailure) -> SSHSession {
        let line: SSHConnection?
        do throws(SSHFailure) {
            line = try await bastion?.acquire()
        } catch {
            var failure = error
            failure.message = "\(place) is reached through another host: \(error.message)"
            throw failure
        }
        let session = SSHSession(place: place, eventLoop: line?.session.eventLoop ?? Self.eventLoops.next())
        do throws(SSHFailure) {
            await session.startDeadline(limit)
            if let line, let bastion {
                try await session.connect(through: line.session, host: configuration.hostName, port: configuration.port) {
                    Task { await bastion.release(line) }
                }
            } else {
                do throws(SSHFailure) {
                    try await session.connectTCP(host: configuration.hostName, port: configuration.port, limit: limit)
                } catch {
                    throw error.adding(configuration.routeHints)
                }
            }
            return session
        } catch {
            await session.fail(error)
            throw await session.failure ?? error
        }
    }

    private static let mostJumps = 8

    /// All hops to a host: the first one may have its own way, as its part of the ssh configuration says.
    private func route(to login: SSHLogin, _ configuration: HostConfiguration) async throws(SSHFailure) -> [HostConfiguration.Jump] {
        var hops = configuration.jumps
        while let first = hops.first {
            let before = try await openSSH.configuration(of: SSHLogin(first)).jumps
            if before.isEmpty { break }
            hops = before + hops
            guard hops.count <= Self.mostJumps else {
                throw SSHFailure(
                    .unreachable,
                    "\(login.name): ProxyJump leads in a circle at '\(first.host)', or over more than \(Self.mostJumps) hosts; "
                        + "a 'Host *' section may need 'ProxyJump none' in that of '\(first.host)' before it"
                )
            }
        }
        return hops
    }

    /// The last of these hops, reached through those before it.
    func bastion(for hops: [HostConfiguration.Jump]) -> Bastion? {
        guard let hop = hops.last else { return nil }
        return bastions.withLock { bastions in
            if let bastion = bastions[hops] { return bastion }
            let bastion = Bastion { [self] () throws(SSHFailure) in
                let login = SSHLogin(hop)
                var configuration = try await openSSH.configuration(of: login)
                configuration.jumps = Array(hops.dropLast())
                return try await connect(login, configuration)
            }
            bastions[hops] = bastion
            return bastion
        }
    }

    private func pins(of login: SSHLogin, place: String) throws(SSHFailure) -> [PublicKey] {
        var keys: [PublicKey] = []
        for text in login.hostKeys {
            guard let key = PublicKey(text: text) else {
                throw SSHFailure(
                    .denied,
                    "\(place): its hostKeys entry '\(text.quotable(limit: 80))' is not 'TYPE BASE64' as in the host's /etc/ssh/ssh_host_*_key.pub"
                )
            }
            keys.append(key)
        }
        return keys
    }
}

extension SSHLogin {
    fileprivate init(_ jump: HostConfiguration.Jump) {
        self.init(name: jump.host, address: jump.host, port: jump.port, user: jump.user)
    }
}
