/// A key that a host proved to have, and how it stands to what is known.
package struct ShownHostKey: Hashable, Sendable {
    package enum Standing: Hashable, Sendable {
        /// Pinned in the specs, or in known_hosts, with its place.
        case trusted(String)
        case unknown
        /// Not trusted; in the words with which a connection would be refused.
        case refused(String)
    }

    package var key: PublicKey
    package var standing: Standing
}

extension SSHClient {
    /// The keys that a host has, one a type, each from a key exchange that goes no further: nobody logs in, and nothing but our version is sent.
    ///
    /// - Errors: where not one could be had, why.
    package func hostKeys(of login: SSHLogin) async throws(SSHFailure) -> (place: String, keys: [ShownHostKey]) {
        let (configuration, trust) = try await trust(of: login)
        let ecdsa = Algorithms.hostKeys.filter { $0.hasPrefix("ecdsa-") }
        let rsa = Algorithms.hostKeys.filter { $0.hasPrefix("rsa-") }
        var keys: [ShownHostKey] = []
        var first: SSHFailure?
        for algorithms in [["ssh-ed25519"], ecdsa, rsa] where !algorithms.isEmpty {
            do throws(SSHFailure) {
                let key = try await showHostKey(configuration, place: trust.place, algorithms)
                keys.append(ShownHostKey(key: key, standing: trust.standing(of: key)))
            } catch {
                // A host without a key of one type still has others; one that does not answer has none.
                if error.cause == .unreachable, !error.isLost { throw error }
                first = first ?? error
            }
        }
        if keys.isEmpty, let first { throw first }
        return (trust.place, keys)
    }

    private func showHostKey(_ configuration: HostConfiguration, place: String, _ algorithms: [String]) async throws(SSHFailure) -> PublicKey {
        let session = try await dial(configuration, place, bastion(for: configuration.jumps), limit: limit(of: configuration))
        do throws(SSHFailure) {
            try await session.prepare(hostKeys: algorithms)
            try await session.handshake()
            let key = try await session.readHostKey()
            await session.close()
            return key
        } catch {
            await session.fail(error)
            throw await session.failure ?? error
        }
    }
}

extension HostTrust {
    func standing(of key: PublicKey) -> ShownHostKey.Standing {
        if pins.contains(key) { return .trusted("its hostKeys in the specs") }
        if pins.isEmpty {
            switch knownHosts.check(key, of: name) {
            case .trusted: return .trusted(knownHosts.keys(of: name).filter { $0.key == key }.map(\.place).joined(separator: ", "))
            case .unknown: return .unknown
            default: break
            }
        }
        do throws(SSHFailure) { try check(key) } catch { return .refused(error.message) }
        return .unknown
    }
}
