internal import CLibSSH2
internal import NIOCore

extension SSHSession {
    /// Lets this session's bytes travel in a channel of a bastion's session, which has to be on the same event loop: each hands the other its bytes
    /// by plain calls.
    ///
    /// - Parameter whenAnswered: Called once, when the bastion is free for the next tunnel. That may be long after this session has given up.
    func connect(through bastion: SSHSession, host: String, port: Int, whenAnswered: @escaping @Sendable () -> Void) async throws(SSHFailure) {
        let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<Void, SSHFailure>, Never>) in
            var isDone = false
            whenOver { failure in
                if isDone { return }
                isDone = true
                continuation.resume(returning: .failure(failure))
            }
            // Not awaited here: it may take longer than this session has time for.
            Task {
                let tunnel: Result<Int, SSHFailure>
                do throws(SSHFailure) { tunnel = .success(try await bastion.openTunnel(host: host, port: port)) } catch { tunnel = .failure(error) }
                whenAnswered()
                if isDone {
                    if case .success(let id) = tunnel { await bastion.closeChannel(id) }
                    return
                }
                isDone = true
                continuation.resume(returning: tunnel.flatMap { ride(on: bastion, $0) })
            }
        }
        try result.get()
    }

    private func ride(on bastion: SSHSession, _ id: Int) -> Result<Void, SSHFailure> {
        bastion.assumeIsolated { bastion in
            bastion.channels[id]?.sink = { [weak self] event in
                self?.assumeIsolated { session in
                    switch event {
                    case .output(let bytes):
                        session.received(ByteBuffer(bytes: bytes))
                        session.receivedAll()
                    case .errorOutput, .late: break
                    case .refused(let reason): session.transportEnded(reason)
                    case .ended: session.transportEnded("\(bastion.place), through which it goes, reports its end")
                    case .lost(let failure): session.transportEnded(failure.message)
                    }
                }
            }
        }
        do throws(SSHFailure) {
            try attach(
                Transport(
                    write: { bytes in bastion.assumeIsolated { $0.send(bytes, on: id) } },
                    close: { bastion.assumeIsolated { $0.closeChannel(id) } }
                )
            )
            return .success(())
        } catch {
            return .failure(error)
        }
    }

    private func openTunnel(host: String, port: Int) async throws(SSHFailure) -> Int {
        var opened: OpaquePointer?
        let status = try await perform { session in
            opened = libssh2_channel_direct_tcpip_ex(session, host, Int32(port), "127.0.0.1", 0)
            return opened == nil ? libssh2_session_last_errno(session) : 0
        }
        guard let opened else {
            let message =
                "\(place) could not reach \(host):\(port) for us (\(lastError()), libssh2 error \(status)): "
                + "is the address right as seen from there, is the host on, and does sshd there allow it (AllowTcpForwarding)?"
            throw SSHFailure(.unreachable, message)
        }
        return register(Channel(opened))
    }

    private func send(_ bytes: ByteBuffer, on id: Int) {
        guard let channel = channels[id] else { return }
        channel.pending.writeImmutableBuffer(bytes)
        pump()
    }

    private func closeChannel(_ id: Int) {
        guard let channel = channels[id] else { return }
        channel.sink = nil
        channel.isClosing = true
        pump()
    }
}
