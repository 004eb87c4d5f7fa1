internal import SSH

/// A host key as a person compares it.
package struct HostKey: Hashable, Sendable {
    package enum Standing: Hashable, Sendable {
        /// Where it stands.
        case trusted(String)
        case unknown
        /// Why a connection would be refused.
        case refused(String)
    }

    /// `ssh-ed25519`, …
    package var type: String
    /// `SHA256:…`
    package var fingerprint: String
    /// `TYPE BASE64`, as it is pinned in a spec.
    package var text: String
    package var standing: Standing
}

extension HostPool {
    /// The keys that a host proves to have; nobody logs in.
    ///
    /// - Returns: `pi-1 (10.0.0.1:22)` and one key a type.
    package func hostKeys(of login: HostLogin) async throws(HostFailure) -> (place: String, keys: [HostKey]) {
        do throws(SSHFailure) {
            let (place, shown) = try await client.hostKeys(of: SSHLogin(login))
            return (place, shown.map(HostKey.init))
        } catch {
            throw HostFailure(error)
        }
    }
}

extension HostKey {
    fileprivate init(_ shown: ShownHostKey) {
        let standing: Standing =
            switch shown.standing {
            case .trusted(let place): .trusted(place)
            case .unknown: .unknown
            case .refused(let message): .refused(message)
            }
        self.init(type: shown.key.type, fingerprint: shown.key.fingerprint, text: shown.key.text, standing: standing)
    }
}
