internal import CLibGit2

/// Bytes to and from a server, as libgit2's smart transport wants them. It is called on one thread, and waits there.
class TrafficStream {
    /// - Returns: how many bytes were put there, 0 at the end, or less than 0 with libgit2's error set.
    func read(_ buffer: UnsafeMutablePointer<CChar>, _ size: Int) -> Int { -1 }
    func write(_ buffer: UnsafePointer<CChar>, _ size: Int) -> Int32 { -1 }
    func end() {}
}

/// Counts what comes in and stops it where it is more than is taken.
final class TrafficMeter {
    enum Phase {
        case advertisement
        case pack
    }

    private let limits: GitLimits
    private let url: GitURL
    private let report: (String) -> Void
    private var advertised = 0
    private var received = 0
    private var reported = 0
    var phase = Phase.advertisement
    /// Why it was stopped.
    var failure: GitFailure?

    init(limits: GitLimits, url: GitURL, report: @escaping (String) -> Void) {
        self.limits = limits
        self.url = url
        self.report = report
    }

    /// - Returns: whether it may go on.
    func count(_ bytes: Int) -> Bool {
        switch phase {
        case .advertisement:
            advertised += bytes
            if advertised > limits.advertisedBytes {
                return stop("it advertises more than \(limits.advertisedBytes) bytes of references")
            }
        case .pack:
            received += bytes
            // Not only packs come: a few lines of talk are free.
            if received > limits.packBytes + 1 << 20 { return stop("it sends more than \(limits.packBytes) bytes for one revision") }
            if received - reported >= 1 << 20 {
                reported = received
                report("\(received >> 20) MiB received")
            }
        }
        return true
    }

    @discardableResult
    func stop(_ reason: String) -> Bool {
        if failure == nil {
            failure = GitFailure(
                .refused,
                "\(url.shown) is not read: \(reason)",
                fix: "Keep specs in a repository of their own, without large files."
            )
        }
        git_error_set_str(Int32(GIT_ERROR_NET.rawValue), reason)
        return false
    }
}

/// What libgit2's own transport for http, https and git does, counted.
private final class CountedStream: TrafficStream {
    private let inner: UnsafeMutablePointer<git_smart_subtransport_stream>

    init(_ inner: UnsafeMutablePointer<git_smart_subtransport_stream>) { self.inner = inner }

    override func read(_ buffer: UnsafeMutablePointer<CChar>, _ size: Int) -> Int {
        var count = 0
        let status = inner.pointee.read(inner, buffer, size, &count)
        return status < 0 ? Int(status) : count
    }

    override func write(_ buffer: UnsafePointer<CChar>, _ size: Int) -> Int32 { inner.pointee.write(inner, buffer, size) }

    override func end() { inner.pointee.free(inner) }
}

/// A subtransport of libgit2 that hands everything to Swift. libgit2 owns it and frees it.
final class Traffic {
    /// Opens what carries a service; called again for the pack, when it may return the stream that it has.
    enum Line {
        /// One of libgit2's own.
        case library(UnsafeMutablePointer<git_smart_subtransport>)
        /// One stream for everything.
        case own(() -> TrafficStream?)
    }

    private let line: Line
    private let meter: TrafficMeter
    private var stream: UnsafeMutablePointer<plumb_stream>?
    private var innerStream: UnsafeMutablePointer<git_smart_subtransport_stream>?

    private init(_ line: Line, meter: TrafficMeter) {
        self.line = line
        self.meter = meter
    }

    /// A subtransport for libgit2, which frees it.
    static func make(_ line: Line, meter: TrafficMeter) -> UnsafeMutablePointer<git_smart_subtransport> {
        let pointer = UnsafeMutablePointer<plumb_subtransport>.allocate(capacity: 1)
        pointer.initialize(to: plumb_subtransport())
        pointer.pointee.object = Unmanaged.passRetained(Traffic(line, meter: meter)).toOpaque()
        pointer.pointee.parent.action = { out, transport, url, action in
            guard let traffic = Traffic.of(transport) else { return -1 }
            return traffic.open(out, transport, url, action)
        }
        pointer.pointee.parent.close = { transport in
            guard let traffic = Traffic.of(transport), case .library(let inner) = traffic.line else { return 0 }
            return inner.pointee.close(inner)
        }
        pointer.pointee.parent.free = { transport in
            guard let transport, let traffic = Traffic.of(transport) else { return }
            if case .library(let inner) = traffic.line { inner.pointee.free(inner) }
            Unmanaged.passUnretained(traffic).release()
            UnsafeMutableRawPointer(transport).assumingMemoryBound(to: plumb_subtransport.self).deallocate()
        }
        return UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: git_smart_subtransport.self)
    }

    private static func of(_ transport: UnsafeMutablePointer<git_smart_subtransport>?) -> Traffic? {
        guard let transport else { return nil }
        let pointer = UnsafeMutableRawPointer(transport).assumingMemoryBound(to: plumb_subtransport.self)
        return Unmanaged<Traffic>.fromOpaque(pointer.pointee.object).takeUnretainedValue()
    }

    private func open(
        _ out: UnsafeMutablePointer<UnsafeMutablePointer<git_smart_subtransport_stream>?>?,
        _ transport: UnsafeMutablePointer<git_smart_subtransport>?,
        _ url: UnsafePointer<CChar>?,
        _ action: git_smart_service_t
    ) -> Int32 {
        meter.phase = action == GIT_SERVICE_UPLOADPACK ? .pack : .advertisement
        let opened: TrafficStream
        switch line {
        case .own(let open):
            if let stream { return give(stream, to: out) }
            guard let stream = open() else { return -1 }
            opened = stream
        case .library(let inner):
            var found: UnsafeMutablePointer<git_smart_subtransport_stream>?
            let status = inner.pointee.action(&found, inner, url, action)
            guard status >= 0, let found else { return min(status, -1) }
            // A stateful transport goes on with the stream that it has.
            if let stream, found == innerStream { return give(stream, to: out) }
            innerStream = found
            opened = CountedStream(found)
        }
        let pointer = UnsafeMutablePointer<plumb_stream>.allocate(capacity: 1)
        pointer.initialize(to: plumb_stream())
        pointer.pointee.object = Unmanaged.passRetained(StreamBox(opened, traffic: self)).toOpaque()
        pointer.pointee.parent.subtransport = transport
        pointer.pointee.parent.read = { stream, buffer, size, count in
            guard let box = StreamBox.of(stream), let buffer, let count else { return -1 }
            let result = box.stream.read(buffer, size)
            guard result >= 0 else { return Int32(clamping: result) }
            count.pointee = result
            return box.meter.count(result) ? 0 : -1
        }
        pointer.pointee.parent.write = { stream, buffer, size in
            guard let box = StreamBox.of(stream), let buffer else { return -1 }
            return box.stream.write(buffer, size)
        }
        pointer.pointee.parent.free = { stream in
            guard let stream, let box = StreamBox.of(stream) else { return }
            box.stream.end()
            box.forget(stream)
            Unmanaged.passUnretained(box).release()
            UnsafeMutableRawPointer(stream).assumingMemoryBound(to: plumb_stream.self).deallocate()
        }
        stream = pointer
        return give(pointer, to: out)
    }

    private func give(
        _ stream: UnsafeMutablePointer<plumb_stream>,
        to out: UnsafeMutablePointer<UnsafeMutablePointer<git_smart_subtransport_stream>?>?
    ) -> Int32 {
        out?.pointee = UnsafeMutableRawPointer(stream).assumingMemoryBound(to: git_smart_subtransport_stream.self)
        return 0
    }

    private final class StreamBox {
        let stream: TrafficStream
        let meter: TrafficMeter
        private weak var traffic: Traffic?

        init(_ stream: TrafficStream, traffic: Traffic) {
            self.stream = stream
            self.traffic = traffic
            meter = traffic.meter
        }

        func forget(_ freed: UnsafeMutablePointer<git_smart_subtransport_stream>) {
            guard let traffic, let current = traffic.stream, UInt(bitPattern: current) == UInt(bitPattern: freed) else { return }
            traffic.stream = nil
            traffic.innerStream = nil
        }

        static func of(_ stream: UnsafeMutablePointer<git_smart_subtransport_stream>?) -> StreamBox? {
            guard let stream else { return nil }
            let pointer = UnsafeMutableRawPointer(stream).assumingMemoryBound(to: plumb_stream.self)
            return Unmanaged<StreamBox>.fromOpaque(pointer.pointee.object).takeUnretainedValue()
        }
    }
}
