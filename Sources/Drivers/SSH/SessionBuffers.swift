internal import CLibSSH2
internal import NIOCore

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// What lies between libssh2 and the transport. libssh2's callbacks see only this, never the session's actor. Confined to the session's event loop.
final class SessionBuffers {
    private var inbound = ByteBuffer()
    private(set) var outbound = ByteBuffer()
    /// The transport has ended: once `inbound` is empty there is nothing more to come.
    var isClosed = false
    /// The first bytes of the other side, for messages: its greeting and what it offers are not told by libssh2.
    private(set) var opening: [UInt8] = []
    static let openingLimit = 16 * 1024
    private(set) var bytesReceived = 0
    private(set) var bytesSent = 0

    /// A signature that libssh2 waits for.
    enum Signing {
        case idle
        case wanted([UInt8])
        case underWay
        case done([UInt8])
        case failed(String)
    }
    var signing = Signing.idle

    func receive(_ bytes: ByteBuffer) {
        bytesReceived += bytes.readableBytes
        if opening.count < Self.openingLimit { opening.append(contentsOf: bytes.readableBytesView.prefix(Self.openingLimit - opening.count)) }
        if inbound.readableBytes == 0 {
            inbound = bytes
        } else {
            inbound.writeImmutableBuffer(bytes)
        }
    }

    func forgetOpening() { opening = [] }

    func takeOutbound() -> ByteBuffer? {
        guard outbound.readableBytes > 0 else { return nil }
        defer { outbound = ByteBuffer() }
        return outbound
    }

    fileprivate func read(into target: UnsafeMutableRawPointer, _ count: Int) -> Int {
        guard inbound.readableBytes > 0 else { return isClosed ? Int(-ECONNRESET) : Int(-EAGAIN) }
        return inbound.readWithUnsafeReadableBytes { source in
            let taken = min(count, source.count)
            if let start = source.baseAddress { target.copyMemory(from: start, byteCount: taken) }
            return taken
        }
    }

    fileprivate func write(_ source: UnsafeRawBufferPointer) -> Int {
        if isClosed { return Int(-EPIPE) }
        outbound.writeBytes(source)
        bytesSent += source.count
        return source.count
    }

    private static func of(_ abstract: UnsafeMutablePointer<UnsafeMutableRawPointer?>?) -> SessionBuffers? {
        guard let pointer = abstract?.pointee else { return nil }
        return Unmanaged<SessionBuffers>.fromOpaque(pointer).takeUnretainedValue()
    }

    /// Makes a session whose bytes come from and go to these buffers. The caller keeps the buffers alive until the session is freed.
    func makeSession() -> OpaquePointer? {
        guard let session = libssh2_session_init_ex(nil, nil, nil, Unmanaged.passUnretained(self).toOpaque()) else { return nil }
        let receive: @convention(c) (Int32, UnsafeMutableRawPointer?, Int, Int32, UnsafeMutablePointer<UnsafeMutableRawPointer?>?) -> Int = {
            _,
            target,
            count,
            _,
            abstract in
            guard let target, let buffers = SessionBuffers.of(abstract) else { return Int(-EBADF) }
            return buffers.read(into: target, count)
        }
        // Never blocks: what is written stays here until the session flushes it. So libssh2 never stops in the middle of a packet that it sends.
        let send: @convention(c) (Int32, UnsafeRawPointer?, Int, Int32, UnsafeMutablePointer<UnsafeMutableRawPointer?>?) -> Int = {
            _,
            source,
            count,
            _,
            abstract in
            guard let source, let buffers = SessionBuffers.of(abstract) else { return Int(-EBADF) }
            return buffers.write(UnsafeRawBufferPointer(start: source, count: count))
        }
        libssh2_session_callback_set(session, LIBSSH2_CALLBACK_RECV, unsafeBitCast(receive, to: UnsafeMutableRawPointer.self))
        libssh2_session_callback_set(session, LIBSSH2_CALLBACK_SEND, unsafeBitCast(send, to: UnsafeMutableRawPointer.self))
        libssh2_session_set_blocking(session, 0)
        return session
    }

    typealias SignCallback =
        @convention(c) (
            OpaquePointer?, UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?, UnsafeMutablePointer<Int>?, UnsafePointer<UInt8>?, Int,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?
        ) -> Int32

    /// Asks for a signature and says "again" until it is there. libssh2 frees what it is given with `free`.
    static let sign: SignCallback = { _, signature, length, data, count, abstract in
        guard let signature, let length, let data, let buffers = SessionBuffers.of(abstract) else { return LIBSSH2_ERROR_INVAL }
        switch buffers.signing {
        case .idle:
            buffers.signing = .wanted(Array(UnsafeBufferPointer(start: data, count: count)))
            return LIBSSH2_ERROR_EAGAIN
        case .wanted, .underWay:
            return LIBSSH2_ERROR_EAGAIN
        case .failed:
            return LIBSSH2_ERROR_AGENT_PROTOCOL
        case .done(let bytes):
            guard let memory = malloc(max(1, bytes.count)) else { return LIBSSH2_ERROR_ALLOC }
            bytes.withUnsafeBytes { source in
                if let start = source.baseAddress { memory.copyMemory(from: start, byteCount: source.count) }
            }
            signature.pointee = memory.assumingMemoryBound(to: UInt8.self)
            length.pointee = bytes.count
            return 0
        }
    }
}
