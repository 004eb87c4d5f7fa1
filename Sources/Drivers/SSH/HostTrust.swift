/// Which keys a host may have, and what a person is told where it has another.
struct HostTrust: Sendable {
    /// Keys from the specs; where there are any, known_hosts is not asked.
    var pins: [PublicKey]
    var knownHosts: KnownHosts
    var name: KnownHosts.Name
    /// `pi-1 (10.0.0.1:22)`
    var place: String
    /// What the ssh configuration says about trust and is not followed.
    var hints: [String] = []

    /// Types in which the host may prove itself, for the key exchange: a known host must not look unknown because it offered another type first.
    func algorithms() throws(SSHFailure) -> [String] {
        let keys = pins.isEmpty ? knownHosts.keys(of: name).map(\.key) : pins
        if keys.isEmpty { return Algorithms.hostKeys }
        let types = Set(keys.map(\.type))
        let algorithms = Algorithms.hostKeys.filter { algorithm in types.contains { Algorithms.hostKeys(for: $0).contains(algorithm) } }
        guard algorithms.isEmpty else { return algorithms }
        let known = types.sorted().joined(separator: ", ")
        let origin = pins.isEmpty ? knownHosts.keys(of: name).map(\.place).joined(separator: ", ") : "its hostKeys in the specs"
        let reason = types == ["ssh-rsa"] ? "libssh2 \(SSHLibrary.version) can't check RSA keys safely (1.11 can)" : "libssh2 can't check such keys"
        throw SSHFailure(
            .denied,
            "\(place): only a host key of type \(known) is known (\(origin)), and \(reason). "
                + "Add the host's ed25519 or ecdsa key: ssh-keyscan -t ed25519,ecdsa \(scanArguments), and compare it with the one on the host"
        )
    }

    private var scanArguments: String { name.port == 22 || name.isAlias ? name.host : "-p \(name.port) \(name.host)" }

    func check(_ key: PublicKey) throws(SSHFailure) {
        do throws(SSHFailure) { try checkKey(key) } catch { throw error.adding(hints) }
    }

    private func checkKey(_ key: PublicKey) throws(SSHFailure) {
        let offered = "\(key.fingerprint) (\(key.type))"
        guard pins.isEmpty else {
            if pins.contains(key) { return }
            let pinned = pins.map { "\($0.fingerprint) (\($0.type))" }.joined(separator: ", ")
            throw SSHFailure(
                .denied,
                "\(place) has the host key \(offered), but its hostKeys in the specs say \(pinned). Nothing was sent to it. "
                    + "Someone may be listening in between; if the host was installed anew, check the key on the host itself and change hostKeys"
            )
        }
        switch knownHosts.check(key, of: name) {
        case .trusted: return
        case .revoked(let entry):
            throw SSHFailure(.denied, "\(place) has the host key \(offered), which is revoked (\(entry.place)). Nothing was sent to it")
        case .changed(let entries):
            throw SSHFailure(
                .denied,
                "\(place) has another host key than before: now \(offered),\nknown is \(described(entries)). Nothing was sent to it.\n"
                    + "Someone may be listening in between. If the host was installed anew, check the key on the host itself and replace that line by\n"
                    + line(key)
            )
        case .otherType(let entries):
            throw SSHFailure(
                .denied,
                "\(place) has the host key \(offered), known is only \(described(entries)). Nothing was sent to it.\n"
                    + "If the key is right, checked on the host itself, add this line:\n\(line(key))"
            )
        case .certificateAuthority(let entry):
            throw SSHFailure(
                .denied,
                "\(place): only a certificate authority is known for it (\(entry.place)), and libssh2 can't check host certificates.\n"
                    + "Its key is \(offered); once it is checked on the host itself, add this line to known_hosts:\n\(line(key))"
            )
        case .unknown:
            throw SSHFailure(
                .denied,
                "\(place) is not in \(fileList) and proved to have the host key\n\(offered). Check it on the host itself "
                    + "(ssh-keygen -lf /etc/ssh/ssh_host_\(fileName(key.type))_key.pub).\nIf it is right, add this line:\n\(line(key))\n"
                    + "or pin it in the host's spec:\nhostKeys: [\"\(key.text)\"]"
            )
        }
    }

    private func described(_ entries: [KnownHosts.Entry]) -> String {
        entries.map { "\($0.key.fingerprint) (\($0.key.type), \($0.place))" }.joined(separator: ", ")
    }

    private var fileList: String { knownHosts.files.isEmpty ? "known_hosts" : knownHosts.files.joined(separator: " or ") }

    private func line(_ key: PublicKey) -> String { "\(name.text) \(key.text)" }

    private func fileName(_ type: String) -> String {
        if type == "ssh-rsa" { return "rsa" }
        return type.hasPrefix("ecdsa") ? "ecdsa" : "ed25519"
    }
}
