internal import Foundation
internal import Glibc
internal import SpecSources

/// The other end of `GitRepository`: what `plumb read-repository` does.
package enum RepositoryReader {
    /// Answers the one request on stdin on stdout and ends the process. It ends as well when stdin does: nobody waits any more.
    ///
    /// - Parameter askPassphrase: For a private key, where the request allows it.
    package static func serve(askPassphrase: @escaping @Sendable (_ prompt: String) -> String?) async {
        // Over a limit, the call that went there fails; the process says so and not the kernel.
        signal(SIGXFSZ, SIG_IGN)
        umask(0o077)
        guard let request = readRequest() else { _exit(64) }
        watchStdin()
        let thread = Thread {
            // Only now that the threads have their stacks: one that can't start would not say so.
            limit(request)
            answer(request, askPassphrase: askPassphrase)
        }
        thread.stackSize = 8 << 20
        thread.start()
        // Others work from here on.
        await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
    }

    private static func readRequest() -> ReadRequest? {
        guard let head = readBytes(5), head[0] == Frame.answer.rawValue else { return nil }
        let length = head[1..<5].reduce(0) { $0 << 8 | Int($1) }
        guard length <= 1 << 20, let json = readBytes(length) else { return nil }
        return try? JSONDecoder().decode(ReadRequest.self, from: Data(json))
    }

    private static func readBytes(_ count: Int) -> [UInt8]? {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while bytes.count < count {
            let got = read(STDIN_FILENO, &buffer, min(buffer.count, count - bytes.count))
            if got < 0, errno == EINTR { continue }
            guard got > 0 else { return nil }
            bytes += buffer[..<got]
        }
        return bytes
    }

    private static func watchStdin() {
        Thread.detachNewThread {
            var byte: UInt8 = 0
            while true {
                let got = read(STDIN_FILENO, &byte, 1)
                if got < 0, errno == EINTR { continue }
                _exit(3)
            }
        }
    }

    /// Soft limits: they are there for what comes from a server, not against this program.
    private static func limit(_ request: ReadRequest) {
        func set(_ kind: __rlimit_resource, _ value: Int) {
            let resource = __rlimit_resource_t(kind.rawValue)
            var limit = rlimit()
            guard getrlimit(resource, &limit) == 0 else { return }
            limit.rlim_cur = min(limit.rlim_max, rlim_t(value))
            setrlimit(resource, &limit)
        }
        set(RLIMIT_AS, request.limits.memory)
        set(RLIMIT_FSIZE, request.limits.packBytes + 1 << 20)
        set(RLIMIT_CPU, Int(min(request.timeout, 86_400).rounded(.up)) + 5)
        set(RLIMIT_CORE, 0)
    }

    private static func answer(_ request: ReadRequest, askPassphrase: @escaping @Sendable (String) -> String?) {
        var files: [[UInt8]] = []
        let answer: ReadAnswer
        do throws(GitFailure) {
            let reading = try RepositoryReading(request, askPassphrase: askPassphrase) { write(.progress, $0.utf8.prefix(4096)) }
            switch try reading.run() {
            case .unchanged(let commit): answer = .unchanged(commit: commit)
            case .read(let tree):
                files = tree.files.map(\.bytes)
                answer = .read(
                    ReadAnswer.Tree(
                        commit: tree.commit,
                        ref: tree.ref,
                        files: tree.files.map { ReadAnswer.Tree.File(path: $0.path, relativePath: $0.relativePath, count: $0.bytes.count) },
                        problems: tree.problems,
                        notes: tree.notes,
                        join: tree.join
                    )
                )
            }
        } catch {
            answer = .failed(error)
        }
        guard let json = try? JSONEncoder().encode(answer), json.count <= AnswerReader.headerLimit else { _exit(70) }
        write(.answer, json)
        for bytes in files {
            for start in stride(from: 0, to: bytes.count, by: AnswerReader.chunk) { write(.contents, bytes[start...].prefix(AnswerReader.chunk)) }
        }
        write(.end, [])
        _exit(0)
    }

    private static func write(_ kind: Frame, _ payload: some Collection<UInt8>) {
        var rest = Frame.encode(kind, payload)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { _exit(3) }
            rest = rest.dropFirst(count)
        }
    }
}
