import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A server on loopback that answers as it is told, to the byte: what real servers do only on their bad days.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        /// `GET /api HTTP/1.1`
        var line: String
        var headers: [String: String]
        var body: String
    }

    enum Reply: Sendable {
        case answer(Int, String, headers: [String: String] = [:])
        /// These bytes as they are, and then the end.
        case bytes(String)
        /// As much of an answer, and then the connection is gone.
        case cut(String)
        /// As much of an answer, and then nothing.
        case stall(String)
        /// An answer of status 200 without an end, to which the test adds; called once its head is sent.
        case stream(@Sendable (Feed) -> Void)
    }

    /// The body of an answer, in chunks.
    final class Feed: Sendable {
        let channel: any Channel
        fileprivate init(_ channel: any Channel) { self.channel = channel }

        func send(_ text: String) {
            guard !text.isEmpty else { return }
            channel.writeAndFlush(ByteBuffer(string: "\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n"), promise: nil)
        }

        /// As it ought to be.
        func end() { channel.writeAndFlush(ByteBuffer(string: "0\r\n\r\n"), promise: nil) }

        func cut() { channel.close(promise: nil) }
    }

    let port: Int
    private let channel: any Channel
    private let log: Log

    private final class Log: Sendable {
        let requests = Mutex<[Request]>([])
    }

    static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    /// - Parameter script: gets the request and how many came before it.
    init(tls: TLSConfiguration? = nil, _ script: @escaping @Sendable (Request, Int) -> Reply) async throws {
        let log = Log()
        let context = try tls.map { try NIOSSLContext(configuration: $0) }
        channel = try await ServerBootstrap(group: Self.group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context)) }
                    let handler = ScriptHandler { request in
                        let before = log.requests.withLock { requests in
                            requests.append(request)
                            return requests.count - 1
                        }
                        return script(request, before)
                    }
                    try channel.pipeline.syncOperations.addHandler(handler)
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port = channel.localAddress?.port ?? 0
        self.log = log
    }

    var requests: [Request] { log.requests.withLock { $0 } }

    func close() async { try? await channel.close().get() }
}

private final class ScriptHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer
    private let answer: (ScriptedServer.Request) -> ScriptedServer.Reply
    private var received = ""

    init(_ answer: @escaping (ScriptedServer.Request) -> ScriptedServer.Reply) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = unwrapInboundIn(data)
        // A TLS greeting at a plain port: what Go's server says to it.
        if bytes.readableBytesView.first == 0x16 { return send(.bytes("HTTP/1.0 400 Bad Request\r\n\r\n"), context) }
        received += String(buffer: bytes)
        while let request = takeRequest() { send(answer(request), context) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func takeRequest() -> ScriptedServer.Request? {
        guard let end = received.ranges(of: "\r\n\r\n").first else { return nil }
        let lines = received[..<end.lowerBound].components(separatedBy: "\r\n")
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let sides = line.split(separator: ":", maxSplits: 1)
            if sides.count == 2 { headers[sides[0].lowercased()] = sides[1].trimmingCharacters(in: .whitespaces) }
        }
        let rest = received[end.upperBound...]
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        guard rest.utf8.count >= length else { return nil }
        let body = String(decoding: rest.utf8.prefix(length), as: UTF8.self)
        received = String(decoding: rest.utf8.dropFirst(length), as: UTF8.self)
        return ScriptedServer.Request(line: lines.first ?? "", headers: headers, body: body)
    }

    private func send(_ reply: ScriptedServer.Reply, _ context: ChannelHandlerContext) {
        func write(_ text: String) { context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil) }
        switch reply {
        case .answer(let status, let body, let headers):
            let lines = headers.map { "\($0.key): \($0.value)\r\n" }.joined()
            write("HTTP/1.1 \(status) X\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\(lines)\r\n\(body)")
        case .bytes(let text), .cut(let text):
            write(text)
            context.close(promise: nil)
        case .stall(let text): write(text)
        case .stream(let begin):
            write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            begin(ScriptedServer.Feed(context.channel))
        }
    }
}

/// Keys and certificates in a folder of their own, made with openssl.
struct Certificates {
    let folder: String

    init() throws {
        folder = "\(NSTemporaryDirectory())plumb-tls-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "10",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=test-ca"
        )
        try openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "10",
            "-keyout",
            "other.key",
            "-out",
            "other.pem",
            "-subj",
            "/CN=other-ca"
        )
        try issue("server", names: "IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default")
        try issue("elsewhere", names: "DNS:api.example.com,IP:192.0.2.9")
        try issue("expired", names: "IP:127.0.0.1", isExpired: true)
        try issue("client", names: "DNS:client")
    }

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    func base64(_ name: String) throws -> String { try Data(contentsOf: URL(fileURLWithPath: path(name))).base64EncodedString() }

    func server(_ name: String, wantsClientCertificate: Bool = false) throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(path("\(name).pem")).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: path("\(name).key"), format: .pem))
        )
        if wantsClientCertificate {
            tls.certificateVerification = .noHostnameVerification
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path("ca.pem")))
        }
        return tls
    }

    private func issue(_ name: String, names: String, isExpired: Bool = false) throws {
        try openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "\(name).key",
            "-out",
            "\(name).csr",
            "-subj",
            "/CN=\(name)"
        )
        try "subjectAltName=\(names)\n".write(toFile: path("\(name).ext"), atomically: true, encoding: .utf8)
        if !isExpired {
            try openssl(
                "x509",
                "-req",
                "-in",
                "\(name).csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-set_serial",
                "2",
                "-days",
                "5",
                "-out",
                "\(name).pem",
                "-extfile",
                "\(name).ext"
            )
        } else {
            // `x509` takes no dates before OpenSSL 3.4; `ca` always did, and wants a database.
            try "".write(toFile: path("index.txt"), atomically: true, encoding: .utf8)
            try """
            [ca]
            default_ca=a
            [a]
            database=index.txt
            serial=serial
            new_certs_dir=.
            default_md=sha256
            policy=p
            [p]
            commonName=supplied
            """.write(toFile: path("ca.cnf"), atomically: true, encoding: .utf8)
            try openssl(
                "ca",
                "-batch",
                "-config",
                "ca.cnf",
                "-rand_serial",
                "-startdate",
                "20200101000000Z",
                "-enddate",
                "20200201000000Z",
                "-cert",
                "ca.pem",
                "-keyfile",
                "ca.key",
                "-in",
                "\(name).csr",
                "-out",
                "\(name).pem",
                "-extfile",
                "\(name).ext",
                "-notext"
            )
        }
    }

    private func openssl(_ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        let pipe = Pipe()
        process.standardError = pipe
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        let said = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failed(said: String(decoding: said, as: UTF8.self)) }
    }

    struct Failed: Error { var said: String }
}
