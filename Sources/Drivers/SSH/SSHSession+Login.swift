internal import CLibSSH2

extension SSHSession {
    /// Agrees on keys and finds out whether it is the right host. Nothing of ours has been sent by then but our version.
    func establish(_ trust: HostTrust) async throws(SSHFailure) {
        try prepare(hostKeys: try trust.algorithms())
        try await handshake()
        try trust.check(try readHostKey())
    }

    /// The outcome of offering one key.
    enum Offer: Hashable, Sendable {
        case accepted
        /// The server does not know the key, or does not let this user in.
        case refused
        /// It never came to the server.
        case unusable(String)
    }

    /// Offers a private key that is at hand.
    func offer(_ key: PrivateKey, user: String) async throws(SSHFailure) -> Offer {
        phase = .authentication(user: user)
        let status = try await perform { session in
            key.text.withUnsafeBytes { bytes in
                libssh2_userauth_publickey_frommemory(
                    session,
                    user,
                    user.utf8.count,
                    nil,
                    0,
                    bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                    bytes.count,
                    key.passphrase
                )
            }
        }
        switch status {
        case 0: return .accepted
        case LIBSSH2_ERROR_AUTHENTICATION_FAILED, LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED: return .refused
        case LIBSSH2_ERROR_FILE, LIBSSH2_ERROR_KEYFILE_AUTH_FAILED:
            return .unusable(
                key.passphrase == nil ? "can't be read by libssh2 (\(lastError()))" : "was not opened by that passphrase, or can't be read by libssh2"
            )
        default: throw lostWhileLoggingIn(status)
        }
    }

    /// Offers a key that the ssh-agent holds.
    func offer(_ key: PublicKey, of agent: SSHAgent, user: String) async throws(SSHFailure) -> Offer {
        phase = .authentication(user: user)
        buffers.signing = .idle
        signer = { [eventLoop] data in
            self.phase = .agent(agent.path)
            Task {
                do throws(SSHAgent.Failure) {
                    let signature = try await agent.sign(data, by: key, algorithm: key.type, limit: .seconds(60), on: eventLoop)
                    self.buffers.signing = .done(signature)
                } catch {
                    self.buffers.signing = .failed("the ssh-agent at \(agent.path) did not sign: \(error.reason)")
                }
                self.phase = .authentication(user: user)
                self.pump()
            }
        }
        defer { signer = nil }
        let status = try await perform { session in
            key.blob.withUnsafeBufferPointer { blob in
                libssh2_userauth_publickey(
                    session,
                    user,
                    blob.baseAddress,
                    blob.count,
                    SessionBuffers.sign,
                    libssh2_session_abstract(session)
                )
            }
        }
        if case .failed(let reason) = buffers.signing { return .unusable(reason) }
        switch status {
        case 0: return .accepted
        case LIBSSH2_ERROR_AUTHENTICATION_FAILED, LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED: return .refused
        default: throw lostWhileLoggingIn(status)
        }
    }

    private func lostWhileLoggingIn(_ status: Int32) -> SSHFailure {
        if buffers.isClosed || status == LIBSSH2_ERROR_SOCKET_DISCONNECT || status == LIBSSH2_ERROR_SOCKET_RECV { return lostFailure(nil) }
        return SSHFailure(.unknown, "\(place): logging in failed (\(lastError()), libssh2 error \(status))")
    }

    /// What else the server would take: `publickey,password`.
    func acceptedMethods(user: String) async throws(SSHFailure) -> String {
        var methods = ""
        let status = try await perform { session in
            if let list = libssh2_userauth_list(session, user, UInt32(user.utf8.count)) {
                methods = String(cString: list)
                return 0
            }
            return libssh2_session_last_errno(session)
        }
        return status == 0 ? methods.quotable(limit: 100) : ""
    }

    func loggedIn() { phase = .open }
}
