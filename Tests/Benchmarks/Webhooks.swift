import Controller
import Crypto
import Forge
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

private let secret = "correct horse battery staple"
/// As much as GitHub sends for a push of a few commits.
private let bodySize = 7_000

/// The server alone, in a process of its own, so that its memory is its own. Says its port; at the end of its input, what it has heard.
func serveWebhooks() async throws {
    let heard = Mutex<Set<String>>([])
    let server = WebhookServer(
        address: Configuration.Address("127.0.0.1", 0),
        verifier: WebhookVerifier(secrets: [.github: [try WebhookSecret(secret.utf8, of: .github)]], tokensCount: true),
        repository: FollowedRepository(url: "https://github.com/owner/specs"),
        metrics: Metrics(),
        logger: Logger(label: "webhooks") { _ in SwiftLogNoOpLogHandler() },
        onPush: { notice in heard.withLock { _ = $0.insert(notice.commit ?? "") } }
    )
    let serving = Task {
        try await server.run { port in
            FileHandle.standardOutput.write(Data("\(port)\n".utf8))
        }
    }
    await withCheckedContinuation { continuation in
        Thread.detachNewThread {
            while readLine() != nil {}
            continuation.resume()
        }
    }
    serving.cancel()
    _ = await serving.result
    print(heard.withLock { $0.count })
}

/// Forged and genuine pushes mixed, nine to one, at a rate that does not wait for the answers.
func webhookBenchmark(rate: Int, seconds: Int) async throws {
    let server = Process()
    server.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    server.arguments = ["webhook-server"]
    let (input, output) = (Pipe(), Pipe())
    server.standardInput = input
    server.standardOutput = output
    try server.run()
    let said = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    guard let port = Int(said.trimmingCharacters(in: .whitespacesAndNewlines)) else {
        print("the server did not start")
        exit(1)
    }
    // Its code and pools are there after a second of it; what grows then is growth.
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let warmUp = try await flood(port, group, rate: rate, seconds: 1, first: 0).genuine
    let before = residentMemory(of: server.processIdentifier)
    let result = try await flood(port, group, rate: rate, seconds: seconds, first: 10_000_000)
    let after = residentMemory(of: server.processIdentifier)
    let processor = processorTime(of: server.processIdentifier)
    try input.fileHandleForWriting.close()
    let last = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
    server.waitUntilExit()
    try await group.shutdownGracefully()

    line(["webhooks, \(rate) a second for \(seconds) s", "answered", "median (p99, longest)", "memory"])
    let times = result.latencies.sorted()
    let percentile = { (part: Double) in times.isEmpty ? Double.nan : times[min(times.count - 1, Int(Double(times.count) * part))] }
    line([
        "    1 of 10 genuine, \(bodySize / 1000) kB",
        "\(times.count) of \(result.sent), \(Int(Double(times.count) / result.elapsed))/s",
        "\(Samples.shown(percentile(0.5))) (\(Samples.shown(percentile(0.99))), \(Samples.shown(times.last ?? .nan)))",
        String(format: "%.1f → %.1f MiB", before, after),
    ])
    line(["    genuine pushes heard", "\((Int(last) ?? 0) - warmUp) of \(result.genuine)", "wrong answers: \(result.wrong)", ""])
    line(["    processor time", String(format: "%.1f s (all of it)", processor), "not sent, for lack of answers: \(result.unsent)", ""])
}

private struct Flood {
    var sent = 0
    var genuine = 0
    var unsent = 0
    var wrong = 0
    var latencies: [Double] = []
    var elapsed = 0.0
}

private func flood(_ port: Int, _ group: MultiThreadedEventLoopGroup, rate: Int, seconds: Int, first: Int) async throws -> Flood {
    let connections = 64
    var senders: [EventLoopFuture<Flood>] = []
    let start = ContinuousClock.now
    for number in 0..<connections {
        let loop = group.next()
        let done = loop.makePromise(of: Flood.self)
        let share = Double(rate) / Double(connections)
        _ = try await ClientBootstrap(group: loop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                let sender = FloodSender(first: first + number * 100_000, rate: share, seconds: seconds, done: done)
                try channel.pipeline.syncOperations.addHandler(sender)
            }
        }.connect(host: "127.0.0.1", port: port).get()
        senders.append(done.futureResult)
    }
    var total = Flood()
    for sender in senders {
        let part = try await sender.get()
        total.sent += part.sent
        total.genuine += part.genuine
        total.unsent += part.unsent
        total.wrong += part.wrong
        total.latencies += part.latencies
    }
    let elapsed = start.duration(to: .now).components
    total.elapsed = Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
    return total
}

/// One connection's share.
private final class FloodSender: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// Requests without an answer, beyond which none are sent.
    private static let mostWaiting = 256
    private static let tick = TimeAmount.milliseconds(10)

    private var flood = Flood()
    private var waiting: [(sent: ContinuousClock.Instant, status: Int)] = []
    private var next = 0
    private var received = ByteBuffer()
    private var credit = 0.0
    private var number: Int
    private let rate: Double
    private let ticks: Int
    private var ticked = 0
    private let done: EventLoopPromise<Flood>
    private let forged: ByteBuffer

    init(first: Int, rate: Double, seconds: Int, done: EventLoopPromise<Flood>) {
        number = first
        self.rate = rate
        self.done = done
        ticks = seconds * 100
        forged = Self.request(Self.body(first), signature: String(repeating: "5", count: 64))
    }

    private static func body(_ number: Int) -> String {
        let commit = String(number, radix: 16)
        let padding = String(repeating: "x", count: bodySize - 200)
        return #"{"ref":"refs/heads/main","after":"\#(String(repeating: "a", count: 40 - commit.count))\#(commit)","#
            + #""repository":{"full_name":"owner/specs"},"head_commit":{"message":"\#(padding)"}}"#
    }

    private static func request(_ body: String, signature: String) -> ByteBuffer {
        ByteBuffer(
            string: """
                POST /hook HTTP/1.1\r
                Host: plumb\r
                User-Agent: GitHub-Hookshot/1\r
                Content-Type: application/json\r
                Content-Length: \(body.utf8.count)\r
                X-GitHub-Event: push\r
                X-Hub-Signature-256: sha256=\(signature)\r
                \r
                \(body)
                """
        )
    }

    func channelActive(context: ChannelHandlerContext) { schedule(context) }

    private func schedule(_ context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.tick) {
            let (sender, context) = bound.value
            sender.send(context)
        }
    }

    private func send(_ context: ChannelHandlerContext) {
        ticked += 1
        if ticked > ticks { return finishIfAnswered(context) }
        credit += rate / 100
        while credit >= 1 {
            credit -= 1
            if waiting.count - next >= Self.mostWaiting {
                flood.unsent += 1
                continue
            }
            number += 1
            flood.sent += 1
            if number.isMultiple(of: 10) {
                flood.genuine += 1
                let body = Self.body(number)
                let code = HMAC<SHA256>.authenticationCode(for: Array(body.utf8), using: SymmetricKey(data: Array(secret.utf8)))
                let digits = code.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
                waiting.append((.now, 202))
                context.write(wrapOutboundOut(Self.request(body, signature: digits)), promise: nil)
            } else {
                waiting.append((.now, 401))
                context.write(wrapOutboundOut(forged), promise: nil)
            }
        }
        context.flush()
        schedule(context)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var chunk = unwrapInboundIn(data)
        received.writeBuffer(&chunk)
        while let answer = takeAnswer(), next < waiting.count {
            let request = waiting[next]
            next += 1
            if answer != request.status { flood.wrong += 1 }
            let time = request.sent.duration(to: .now).components
            flood.latencies.append(Double(time.seconds) + Double(time.attoseconds) * 1e-18)
        }
        received.discardReadBytes()
        if ticked > ticks { finishIfAnswered(context) }
    }

    func channelInactive(context: ChannelHandlerContext) { done.succeed(flood) }

    private func finishIfAnswered(_ context: ChannelHandlerContext) {
        if next == waiting.count { context.close(promise: nil) }
    }

    /// The status of the next answer.
    private func takeAnswer() -> Int? {
        let view = received.readableBytesView
        guard let end = view.firstRange(of: Array("\r\n\r\n".utf8))?.upperBound else { return nil }
        let head = String(decoding: view[..<end], as: UTF8.self)
        var length = 0
        for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix("content-length:") {
            length = Int(line.dropFirst(15).trimmingCharacters(in: .whitespaces)) ?? 0
        }
        let whole = end - view.startIndex + length
        guard view.count >= whole else { return nil }
        received.moveReaderIndex(forwardBy: whole)
        return head.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }
}

/// In MiB.
private func residentMemory(of process: Int32) -> Double {
    let status = (try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8)) ?? ""
    let line = status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return (line?.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? .nan) / 1024
}

/// In seconds.
private func processorTime(of process: Int32) -> Double {
    let status = (try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)) ?? ""
    let fields = status.split(separator: ")").last?.split(separator: " ") ?? []
    guard fields.count > 13, let user = Double(fields[11]), let system = Double(fields[12]) else { return .nan }
    return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
}
