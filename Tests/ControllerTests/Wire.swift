import Foundation
import NIOCore
import NIOPosix
import NIOSSL

/// A client that sends exactly what it is told. It ends by itself after 30 s, so that no test hangs on what it tests.
struct Wire {
    struct Answer {
        var status: Int
        var headers: [String: String]
        var body: String
    }

    struct Ended: Error {
        /// What had come until then.
        var received: String
    }

    private let channel: any Channel
    private var chunks: AsyncStream<[UInt8]>.Iterator
    private var received: [UInt8] = []

    /// - Parameter authority: for TLS: a file with whom to trust.
    static func open(port: Int, authority: String? = nil) async throws -> Wire {
        var tls: NIOSSLContext?
        if let authority {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.trustRoots = .file(authority)
            tls = try NIOSSLContext(configuration: configuration)
        }
        let (stream, sink) = AsyncStream.makeStream(of: [UInt8].self)
        let context = tls
        let channel = try await bootstrap(sink) { channel in
            if let context {
                try channel.pipeline.syncOperations.addHandler(NIOSSLClientHandler(context: context, serverHostname: "localhost"))
            }
        }.connect(host: "127.0.0.1", port: port).get()
        return Wire(channel, stream)
    }

    static func open(path: String) async throws -> Wire {
        let (stream, sink) = AsyncStream.makeStream(of: [UInt8].self)
        return Wire(try await bootstrap(sink) { _ in }.connect(unixDomainSocketPath: path).get(), stream)
    }

    private static func bootstrap(
        _ sink: AsyncStream<[UInt8]>.Continuation,
        _ prepare: @escaping @Sendable (any Channel) throws -> Void
    ) -> ClientBootstrap {
        ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try prepare(channel)
                try channel.pipeline.syncOperations.addHandler(Collector(sink))
            }
        }
    }

    private init(_ channel: any Channel, _ stream: AsyncStream<[UInt8]>) {
        self.channel = channel
        chunks = stream.makeAsyncIterator()
        channel.eventLoop.scheduleTask(in: .seconds(30)) { channel.close(promise: nil) }
    }

    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }

    /// Sends from anywhere.
    var sender: @Sendable (String) async throws -> Void {
        { [channel] text in try await channel.writeAndFlush(ByteBuffer(string: text)).get() }
    }

    func close() async { try? await channel.close().get() }

    /// The next HTTP answer.
    mutating func answer() async throws -> Answer {
        while true {
            if let answer = takeAnswer() { return answer }
            guard let chunk = await chunks.next(isolation: #isolation) else { throw Ended(received: String(decoding: received, as: UTF8.self)) }
            received += chunk
        }
    }

    /// The next line, without its end.
    mutating func line() async throws -> String {
        while true {
            if let end = received.firstIndex(of: UInt8(ascii: "\n")) {
                defer { received.removeSubrange(...end) }
                return String(decoding: received[..<end], as: UTF8.self)
            }
            guard let chunk = await chunks.next(isolation: #isolation) else { throw Ended(received: String(decoding: received, as: UTF8.self)) }
            received += chunk
        }
    }

    /// Everything up to the end that the other side makes.
    mutating func rest() async -> String {
        while let chunk = await chunks.next(isolation: #isolation) { received += chunk }
        return String(decoding: received, as: UTF8.self)
    }

    private mutating func takeAnswer() -> Answer? {
        let text = String(decoding: received, as: UTF8.self)
        guard let end = text.ranges(of: "\r\n\r\n").first else { return nil }
        let lines = text[..<end.lowerBound].components(separatedBy: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let sides = line.split(separator: ":", maxSplits: 1)
            if sides.count == 2 { headers[sides[0].lowercased()] = sides[1].trimmingCharacters(in: .whitespaces) }
        }
        let length = Int(headers["content-length"] ?? "0") ?? 0
        let body = text[end.upperBound...].utf8.prefix(length)
        guard body.count == length else { return nil }
        received = Array(text[end.upperBound...].utf8.dropFirst(length))
        let status = lines.first?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        return Answer(status: status, headers: headers, body: String(decoding: body, as: UTF8.self))
    }
}

private final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let sink: AsyncStream<[UInt8]>.Continuation

    init(_ sink: AsyncStream<[UInt8]>.Continuation) { self.sink = sink }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { sink.yield(Array(unwrapInboundIn(data).readableBytesView)) }
    func channelInactive(context: ChannelHandlerContext) { sink.finish() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Runs what blocks on a thread of its own.
func onThread<Success: Sendable>(_ body: @escaping @Sendable () throws -> Success) async throws -> Success {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

/// Runs a command to its end, for at most half a minute.
func command(_ arguments: [String], folder: String? = nil) async throws -> (status: Int32, output: String) {
    try await onThread {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
        process.arguments = ["--kill-after=5", "30"] + arguments
        if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let said = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: said, as: UTF8.self))
    }
}

/// A folder that any user may enter, with a short path, gone when `body` ends.
func withFolder(_ body: (String) async throws -> Void) async throws {
    let folder = "/tmp/plumb-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try await body(folder)
}

/// Runs a server beside `body`.
///
/// - Parameter serve: calls its argument once it can be connected to.
func beside<Place: Sendable>(
    _ serve: @escaping @Sendable (@escaping @Sendable (Place) -> Void) async throws -> Void,
    _ body: (Place) async throws -> Void
) async throws {
    let (places, sink) = AsyncStream.makeStream(of: Place.self)
    let serving = Task {
        defer { sink.finish() }
        try await serve { sink.yield($0) }
    }
    var iterator = places.makeAsyncIterator()
    guard let place = await iterator.next() else { return try await serving.value }
    do {
        try await body(place)
    } catch {
        serving.cancel()
        _ = await serving.result
        throw error
    }
    serving.cancel()
    _ = await serving.result
}

/// The same sequence for the same seed.
struct Dice: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
    }
}
