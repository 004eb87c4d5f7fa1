internal import NIOCore

/// The keys that are offered to one host, in order, and what came of each.
struct Authentication: Sendable {
    private enum Candidate: Sendable {
        case file(String)
        case agent(PublicKey, comment: String)
    }

    private let configuration: HostConfiguration
    private let keys: KeyRing
    private var candidates: [Candidate] = []
    /// What was tried or could not be, in words.
    private var outcomes: [String] = []
    private let agent: SSHAgent?
    private let eventLoop: any EventLoop

    /// A server ends the connection after a few keys (MaxAuthTries, 6), and counts them against us (PerSourcePenalties).
    private static let mostOffers = 5

    /// Finds out which keys there are, and asks for a passphrase where the first one needs it: no host should wait for a person at the keyboard.
    init(_ configuration: HostConfiguration, keys: KeyRing, on eventLoop: any EventLoop) async {
        self.configuration = configuration
        self.keys = keys
        self.eventLoop = eventLoop
        agent = configuration.agent.map { SSHAgent(path: $0) }
        await findCandidates()
        if case .file(let path) = candidates.first { _ = try? await keys.privateKey(path) }
    }

    private mutating func findCandidates() async {
        var held: [AgentProtocol.Identity] = []
        if let agent {
            do throws(SSHAgent.Failure) {
                held = try await agent.identities(on: eventLoop)
            } catch {
                outcomes.append("the ssh-agent at \(agent.path) was not asked: \(error.reason)")
            }
        }
        let named = configuration.identityFiles
        for path in named { await add(path, held, isNamed: true) }
        if !configuration.identitiesOnly {
            var offered: Set<PublicKey> = []
            for path in named { if let key = await keys.publicKey(of: path) { offered.insert(key) } }
            for identity in held where !offered.contains(identity.key) {
                let name = "key '\(identity.comment.quotable(limit: 60))' of the ssh-agent"
                if let obstacle = KeyFile.obstacle(of: identity.key) {
                    outcomes.append("\(name) \(obstacle)")
                } else {
                    candidates.append(.agent(identity.key, comment: identity.comment))
                }
            }
        }
        if configuration.usesDefaultIdentities {
            let inAgent = Set(held.map(\.key))
            for path in HostConfiguration.defaultIdentityFiles {
                if let key = await keys.publicKey(of: path), inAgent.contains(key) { continue }
                await add(path, [], isNamed: false)
            }
        }
    }

    private mutating func add(_ path: String, _ held: [AgentProtocol.Identity], isNamed: Bool) async {
        let publicKey = await keys.publicKey(of: path)
        let inAgent = held.first { $0.key == publicKey }
        do throws(KeyFile.Unusable) {
            let file = try await keys.file(path)
            // An agent that has the key saves the passphrase; without one the file is the shorter way.
            if file.isEncrypted, let inAgent {
                candidates.append(.agent(inAgent.key, comment: path))
            } else {
                candidates.append(.file(path))
            }
        } catch {
            // Only the public half is here, the private one in the agent.
            if let inAgent, KeyFile.obstacle(of: inAgent.key) == nil {
                candidates.append(.agent(inAgent.key, comment: path))
            } else if isNamed || !error.isMissing {
                outcomes.append("\(path) \(error.reason)")
            }
        }
    }

    /// - Parameter limit: for the whole login; it stands still while a person types a passphrase.
    func logIn(_ session: SSHSession, limit: Duration) async throws(SSHFailure) {
        var outcomes = outcomes
        let user = configuration.user
        for candidate in candidates.prefix(Self.mostOffers) {
            let offer: SSHSession.Offer
            let name: String
            switch candidate {
            case .agent(let key, let comment):
                guard let agent else { continue }
                name = "'\(comment.quotable(limit: 60))' of the ssh-agent (\(key.fingerprint))"
                offer = try await session.offer(key, of: agent, user: user)
            case .file(let path):
                let key: PrivateKey
                do throws(KeyFile.Unusable) {
                    await session.stopDeadline()
                    key = try await keys.privateKey(path)
                    await session.startDeadline(limit)
                } catch {
                    await session.startDeadline(limit)
                    outcomes.append("\(path) \(error.reason)")
                    continue
                }
                name = key.description
                offer = try await session.offer(key, user: user)
            }
            switch offer {
            case .accepted: return await session.loggedIn()
            case .refused: outcomes.append("key \(name) was refused")
            case .unusable(let reason): outcomes.append("key \(name): \(reason)")
            }
        }
        throw await failure(session, outcomes)
    }

    private func failure(_ session: SSHSession, _ outcomes: [String]) async -> SSHFailure {
        let user = configuration.user
        let tried = (outcomes.isEmpty ? ["there is no key to offer"] : outcomes) + configuration.loginHints
        let wasOffered = !candidates.isEmpty
        let methods = wasOffered ? (try? await session.acceptedMethods(user: user)) ?? "" : ""
        var advice =
            wasOffered
            ? "Is its public half in ~\(user)/.ssh/authorized_keys there, with only that user able to write to it, and is '\(user)' the right user?"
            : "Name a key with --identity or IdentityFile, or put one into the ssh-agent"
        if !methods.isEmpty, !methods.split(separator: ",").contains("publickey") { advice = "The host takes no keys at all, only: \(methods)" }
        return SSHFailure(.denied, "\(session.place) does not let '\(user)' in: \(tried.joined(separator: "; ")). \(advice)")
    }
}
