/// The private keys of a run: each file is read once and each passphrase asked for once, whatever the number of hosts.
actor KeyRing {
    private let askPassphrase: @Sendable (String) -> String?
    private var files: [String: Result<KeyFile, KeyFile.Unusable>] = [:]
    private var keys: [String: Result<PrivateKey, KeyFile.Unusable>] = [:]

    init(askPassphrase: @escaping @Sendable (String) -> String?) { self.askPassphrase = askPassphrase }

    /// What the file holds, as far as can be told without its passphrase.
    func file(_ path: String) throws(KeyFile.Unusable) -> KeyFile {
        if let known = files[path] { return try known.get() }
        let result: Result<KeyFile, KeyFile.Unusable>
        do throws(KeyFile.Unusable) { result = .success(try Self.load(path)) } catch { result = .failure(error) }
        files[path] = result
        return try result.get()
    }

    /// The public half that lies beside a private key, or is what a person has named.
    func publicKey(of path: String) -> PublicKey? {
        if let key = (try? file(path))?.publicKey { return key }
        for candidate in [path, "\(path).pub"] {
            if let content = try? LocalFiles.read(candidate, limit: 1 << 20),
                let key = PublicKey(text: String(decoding: content.bytes, as: UTF8.self))
            {
                return key
            }
        }
        return nil
    }

    func privateKey(_ path: String) throws(KeyFile.Unusable) -> PrivateKey {
        if let known = keys[path] { return try known.get() }
        let result: Result<PrivateKey, KeyFile.Unusable>
        do throws(KeyFile.Unusable) { result = .success(try unlock(try file(path))) } catch { result = .failure(error) }
        keys[path] = result
        return try result.get()
    }

    private static func load(_ path: String) throws(KeyFile.Unusable) -> KeyFile {
        let content: LocalFiles.Content
        do throws(LocalFiles.Problem) {
            content = try LocalFiles.read(path, limit: 1 << 20)
        } catch {
            switch error {
            case .missing: throw KeyFile.Unusable(reason: "does not exist", isMissing: true)
            case .failed(let reason): throw KeyFile.Unusable(reason: "can't be read: \(reason)")
            }
        }
        let file = try KeyFile(path: path, text: content.bytes)
        // The same rule as ssh: a private key of ours that others can read is no longer private.
        if content.isOurs, content.mode & 0o077 != 0 {
            throw KeyFile.Unusable(
                reason: "can be read by others (mode 0\(String(content.mode, radix: 8))), and ssh does not use such keys: chmod 600 \(path)"
            )
        }
        if let obstacle = file.obstacle { throw KeyFile.Unusable(reason: obstacle) }
        return file
    }

    private func unlock(_ file: KeyFile) throws(KeyFile.Unusable) -> PrivateKey {
        guard file.isEncrypted else { return PrivateKey(path: file.path, text: file.text, publicKey: file.publicKey) }
        guard let passphrase = askPassphrase("Passphrase for \(file.path): ") else {
            throw KeyFile.Unusable(reason: "needs a passphrase, and there is no terminal to ask at; put it into the ssh-agent: ssh-add \(file.path)")
        }
        guard case .openSSH(let publicKey, let key) = file.format else {
            return PrivateKey(path: file.path, text: file.text, passphrase: passphrase, publicKey: nil)
        }
        do throws(OpenSSHKey.DecryptionProblem) {
            return PrivateKey(path: file.path, text: try key.decrypted(passphrase: passphrase), publicKey: publicKey)
        } catch {
            switch error {
            case .wrongPassphrase: throw KeyFile.Unusable(reason: "was not opened by that passphrase")
            case .unsupported(let reason):
                throw KeyFile.Unusable(
                    reason:
                        "can't be opened: \(reason); give it the usual encryption (ssh-keygen -p -f \(file.path)) or put it into the ssh-agent (ssh-add \(file.path))"
                )
            }
        }
    }
}
