import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS

/// Fetches the certificate that could not be trusted, so that a person can be told what is wrong with it. Nothing is sent over this connection.
enum TLSDiagnosis {
    static func serverCertificate(_ access: ServerAccess) async -> NIOSSLCertificate? {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        guard let context = try? NIOSSLContext(configuration: configuration) else { return nil }
        let isAddress = (try? SocketAddress(ipAddress: access.bareHost, port: 0)) != nil
        let name = isAddress ? nil : access.bareHost
        let loop = ClusterConnection.group.next()
        let found = loop.makePromise(of: NIOSSLCertificate?.self)
        let bootstrap = ClientBootstrap(group: loop)
            .connectTimeout(.seconds(3))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let handler = try NIOSSLClientHandler(context: context, serverHostname: name)
                    try channel.pipeline.syncOperations.addHandlers([handler, CertificateCatcher(handler: handler, found: found)])
                }
            }
        guard let channel = try? await bootstrap.connect(host: access.connectHost ?? access.bareHost, port: access.port).get() else {
            found.succeed(nil)
            return nil
        }
        let limit = loop.scheduleTask(in: .seconds(3)) { found.succeed(nil) }
        let certificate = try? await found.futureResult.get()
        limit.cancel()
        try? await channel.close().get()
        return certificate ?? nil
    }

    /// The names and addresses that a certificate is for.
    static func names(of certificate: NIOSSLCertificate) -> [String] {
        certificate._subjectAlternativeNames().compactMap { name in
            name.contents.withUnsafeBufferPointer { bytes -> String? in
                switch name.nameType {
                case .dnsName: return String(decoding: bytes, as: UTF8.self)
                case .ipAddress: return (try? SocketAddress(packedIPAddress: ByteBuffer(bytes: bytes), port: 0))?.ipAddress
                default: return nil
                }
            }
        }
    }
}

private final class CertificateCatcher: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let handler: NIOSSLClientHandler
    private let found: EventLoopPromise<NIOSSLCertificate?>

    init(handler: NIOSSLClientHandler, found: EventLoopPromise<NIOSSLCertificate?>) {
        self.handler = handler
        self.found = found
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let event = event as? TLSUserEvent, case .handshakeCompleted = event { found.succeed(handler.peerCertificate) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        found.succeed(handler.peerCertificate)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        found.succeed(nil)
        context.fireChannelInactive()
    }
}
