/// The private keys of a run: each file is read once and each passphrase asked for once, whatever the number of hosts.
actor KeyRing {
    private let askPassphrase: @Sendable (String) -> String?
    private var keys: [String: Result<PrivateKey, KeyFile.Unusable>] = [:]

    init(askPassphrase: @escaping @Sendable (String) -> String?) { self.askPassphrase = askPassphrase }

    func privateKey(_ path: String) throws(KeyFile.Unusable) -> PrivateKey {
        if let known = keys[path] { return try known.get() }
        let result: Result<PrivateKey, KeyFile.Unusable>
        do throws(KeyFile.Unusable) { result = .success(try load(path)) } catch { result = .failure(error) }
        keys[path] = result
        return try result.get()
    }

    private func load(_ path: String) throws(KeyFile.Unusable) -> PrivateKey {
        let content: LocalFiles.Content
        do throws(LocalFiles.Problem) {
            content = try LocalFiles.read(path, limit: 1 << 20)
        } catch {
            switch error {
            case .missing: throw KeyFile.Unusable(reason: "does not exist")
            case .failed(let reason): throw KeyFile.Unusable(reason: "can't be read: \(reason)")
            }
        }
        // The same rule as ssh: a private key of ours that others can read is no longer private.
        if content.isOurs, content.mode & 0o077 != 0 {
            throw KeyFile.Unusable(reason: "can be read by others (mode \(String(content.mode, radix: 8))); chmod 600 it")
        }
        let file = try KeyFile(path: path, text: content.bytes)
        if let obstacle = file.obstacle { throw KeyFile.Unusable(reason: obstacle) }
        return PrivateKey(path: path, text: file.text, publicKey: file.publicKey)
    }
}
