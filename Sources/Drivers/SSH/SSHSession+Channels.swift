internal import CLibSSH2
internal import NIOCore

/// What comes out of a channel.
package enum ChannelEvent: Sendable {
    case output([UInt8])
    case errorOutput([UInt8])
    /// The server would not start the command.
    case refused(String)
    /// The command has ended; `status` is nil where a signal ended it or nothing was said.
    case ended(status: Int32?, signal: String?)
    /// The connection is gone.
    case lost(SSHFailure)
    /// The time given to this exchange is over.
    case late
}

extension SSHSession {
    final class Channel {
        let pointer: OpaquePointer
        var pending = ByteBuffer()
        var sink: ((ChannelEvent) -> Void)?
        /// Bytes that came while nobody listened.
        var stray = 0
        /// It is given up; its bytes are nobody's any more.
        var isClosing = false
        /// Nothing is read, so that the other side has to wait once its window is full.
        var isPaused = false
        /// Called when the time is up that whoever follows it has asked for.
        var wake: (() -> Void)?
        /// How it ended, for who listens later.
        var end: ChannelEvent?

        init(_ pointer: OpaquePointer) { self.pointer = pointer }

        func deliver(_ event: ChannelEvent) {
            switch event {
            case .refused, .ended, .lost: if end == nil { end = event }
            case .output(let bytes), .errorOutput(let bytes): if sink == nil { stray += bytes.count }
            case .late: break
            }
            sink?(event)
        }
    }

    /// A command's channel. Its bytes can be sent at once, before the server has answered.
    package struct Command: Sendable {
        package let session: SSHSession
        let id: Int
    }

    /// What a command without a listener may say before the connection is closed.
    private static var strayLimit: Int { 1 << 20 }

    /// Starts a command; the server's answer is not waited for, so that what it reads can follow in the same round trip.
    package func startCommand(_ command: String, within limit: Duration) async throws(SSHFailure) -> Command {
        startDeadline(limit)
        defer { stopDeadline() }
        let channel = try await openChannel { session in
            libssh2_channel_open_ex(
                session,
                "session",
                7,
                2 << 20,
                32 << 10,
                nil,
                0
            )
        }
        let id = register(channel)
        let length = UInt32(command.utf8.count)
        start { _ in
            libssh2_channel_process_startup(channel.pointer, "exec", 4, command, length)
        } finish: { result in
            guard case .success(let status) = result, status != 0 else { return }
            channel.deliver(.refused(self.lastError()))
        }
        return Command(session: self, id: id)
    }

    /// Opens a channel, trying again while the server has too many of them (MaxSessions) and another of ours may end.
    func openChannel(_ open: @escaping (OpaquePointer) -> OpaquePointer?) async throws(SSHFailure) -> Channel {
        var opened: OpaquePointer?
        let status = try await perform { session in
            opened = open(session)
            return opened == nil ? libssh2_session_last_errno(session) : 0
        }
        guard let opened else { throw channelFailure(status) }
        return Channel(opened)
    }

    /// Sends bytes and hands all that comes to `handle` until it gives an answer. One exchange at a time on a command.
    ///
    /// After `refused`, `ended`, `lost` and `late` an answer is due; without one the exchange fails.
    package func exchange<State: Sendable, Answer: Sendable>(
        _ command: Command,
        send bytes: [UInt8],
        within limit: Duration,
        state: State,
        handle: @escaping @Sendable (inout State, ChannelEvent) -> Result<Answer, SSHFailure>?
    ) async -> Result<Answer, SSHFailure> {
        guard let channel = channels[command.id] else {
            return .failure(failure ?? .lost("the shell on \(place) has ended"))
        }
        return await withCheckedContinuation { (continuation: CheckedContinuation<Result<Answer, SSHFailure>, Never>) in
            var state = state
            var timer: Scheduled<Void>?
            let sink: (ChannelEvent) -> Void = { [weak self] event in
                let isLast =
                    switch event {
                    case .output, .errorOutput: false
                    case .refused, .ended, .lost, .late: true
                    }
                guard let answer = handle(&state, event) ?? (isLast ? .failure(.lost("the shell on \(self?.place ?? "the host") has ended")) : nil)
                else {
                    return
                }
                channel.sink = nil
                timer?.cancel()
                continuation.resume(returning: answer)
            }
            if let end = channel.end { return sink(end) }
            channel.sink = sink
            timer = eventLoop.scheduleTask(in: TimeAmount(limit)) { [weak self] in
                self?.assumeIsolated { session in session.channels[command.id]?.deliver(.late) }
            }
            channel.pending.writeBytes(bytes)
            pump()
        }
    }

    /// Writes what waits and reads what has come.
    func drive(_ channel: Channel, _ id: Int) {
        if channel.end != nil { return }
        if channel.isClosing {
            if libssh2_channel_free(channel.pointer) != LIBSSH2_ERROR_EAGAIN { channels[id] = nil }
            return
        }
        while channel.pending.readableBytes > 0 {
            let written = channel.pending.withUnsafeReadableBytes { bytes in
                libssh2_channel_write_ex(channel.pointer, 0, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), min(bytes.count, 32_000))
            }
            // 0: the other side's window is full.
            if written == Int(LIBSSH2_ERROR_EAGAIN) || written == 0 { break }
            // Closed on the other side: the end of the command tells more.
            guard written > 0 else {
                channel.pending.clear()
                break
            }
            channel.pending.moveReaderIndex(forwardBy: written)
        }
        for stream: Int32 in [0, SSH_EXTENDED_DATA_STDERR] {
            while !channel.isPaused {
                var count = 0
                let bytes = [UInt8](unsafeUninitializedCapacity: 32 * 1024) { buffer, initialized in
                    count = buffer.withMemoryRebound(to: CChar.self) { libssh2_channel_read_ex(channel.pointer, stream, $0.baseAddress, $0.count) }
                    initialized = max(0, count)
                }
                guard count > 0 else { break }
                channel.deliver(stream == 0 ? .output(bytes) : .errorOutput(bytes))
                // Whoever listens may have closed the session.
                guard failure == nil, channels[id] != nil, !channel.isClosing else { return }
                if channel.stray > Self.strayLimit {
                    return fail(.lost("\(place) sent more than 1 MiB that nobody asked for"))
                }
            }
        }
        guard libssh2_channel_eof(channel.pointer) == 1, libssh2_channel_wait_closed(channel.pointer) == 0 else { return }
        channels[id] = nil
        let signal = exitSignal(of: channel)
        channel.deliver(.ended(status: signal == nil ? libssh2_channel_get_exit_status(channel.pointer) : nil, signal: signal))
        guard failure == nil else { return }
        // "Again" leaves it to the end of the session.
        _ = libssh2_channel_free(channel.pointer)
    }

    private func exitSignal(of channel: Channel) -> String? {
        var name: UnsafeMutablePointer<CChar>?
        guard libssh2_channel_get_exit_signal(channel.pointer, &name, nil, nil, nil, nil, nil) == 0, let name else { return nil }
        defer { _ = try? withSession { libssh2_free($0, name) } }
        return String(cString: name)
    }
}
