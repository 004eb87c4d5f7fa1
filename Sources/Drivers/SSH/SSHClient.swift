internal import NIOCore
internal import NIOPosix

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
    private let trust: KnownHostsFiles
    private let gates = Gates(limit: 8)

    /// Two threads carry all sessions: the work is a few milliseconds a host, and they never wait. They live as long as the process.
    private static let eventLoops = MultiThreadedEventLoopGroup(numberOfThreads: 2)

    package init(_ options: SSHOptions) {
        self.options = options
        keys = KeyRing(askPassphrase: options.askPassphrase)
        trust = KnownHostsFiles()
    }

    package func connect(_ login: SSHLogin) async throws(SSHFailure) -> SSHConnection {
        let configuration = HostConfiguration(login, options: options)
        let server = "\(configuration.hostName):\(configuration.port)"
        await gates.enter(server)
        defer { gates.leave(server) }
        let clock = ContinuousClock()
        let end = clock.now + options.connectTimeout
        do throws(SSHFailure) {
            return try await attempt(login, configuration, limit: options.connectTimeout)
        } catch  where error.isTurnedAway {
            // sshd drops connections at random while too many are logging in; the next one usually gets through.
            let pause = Duration.milliseconds(Int.random(in: 200...800))
            guard clock.now + pause * 2 < end else { throw error }
            try? await clock.sleep(for: pause)
            return try await attempt(login, configuration, limit: end - clock.now)
        }
    }

    private func attempt(_ login: SSHLogin, _ configuration: HostConfiguration, limit: Duration) async throws(SSHFailure) -> SSHConnection {
        let place = configuration.place(of: login)
        let knownHosts = try trust.read(configuration.knownHostsFiles)
        let trust = HostTrust(pins: try pins(of: login, place: place), knownHosts: knownHosts, name: configuration.knownHostsName, place: place)
        let session = SSHSession(place: place, eventLoop: Self.eventLoops.next())
        do throws(SSHFailure) {
            await session.startDeadline(limit)
            try await session.connectTCP(host: configuration.hostName, port: configuration.port, limit: limit)
            try await session.establish(trust)
            try await logIn(session, configuration)
            await session.stopDeadline()
        } catch {
            await session.fail(error)
            // What ended the session first says more than what came of it.
            throw await session.failure ?? error
        }
        return SSHConnection(
            session: session,
            user: configuration.user,
            hostKeyFingerprint: await session.hostKey?.fingerprint ?? "",
            notes: configuration.notes + knownHosts.notes
        )
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

    private func logIn(_ session: SSHSession, _ configuration: HostConfiguration) async throws(SSHFailure) {
        let user = configuration.user
        var tried: [String] = []
        for path in configuration.identityFiles {
            let key: PrivateKey
            do throws(KeyFile.Unusable) {
                key = try await keys.privateKey(path)
            } catch {
                tried.append("\(path) \(error.reason)")
                continue
            }
            switch try await session.offer(key, user: user) {
            case .accepted:
                await session.loggedIn()
                return
            case .refused: tried.append("\(path)\(key.publicKey.map { " (\($0.fingerprint))" } ?? "") was refused")
            case .unusable(let reason): tried.append("\(path): \(reason)")
            }
        }
        throw SSHFailure(.denied, "\(session.place) does not let '\(user)' in: \(tried.joined(separator: "; "))")
    }
}
