package import Foundation
import Glibc
import Synchronization

/// Who holds the lock, as its file says.
package struct LockHolder: Hashable, Sendable, Codable {
    package var caller: Caller
    package var since: Date
    /// The command line, in short.
    package var command: String
    /// The number of its run in the journal, once it has one.
    package var run: Int64?

    package init(caller: Caller, since: Date, command: String, run: Int64? = nil) {
        self.caller = caller
        self.since = since
        self.command = command
        self.run = run
    }
}

/// One apply at a time in a data directory.
///
/// - Guarantees: the kernel's `flock` decides, so the lock ends with the process that holds it, however that ends. What the file says is for
///   people, and for `force`.
package final class ApplyLock: Sendable {
    package enum Attempt: Sendable {
        case taken(ApplyLock)
        /// nil: the holder has not written its name yet.
        case held(by: LockHolder?)
    }

    package static let fileName = "apply.lock"

    private let directory: DataDirectory
    private let descriptor: Int32

    private init(directory: DataDirectory, descriptor: Int32) {
        self.directory = directory
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Takes the lock, or says who has it; does not wait.
    package static func take(in directory: DataDirectory, for holder: LockHolder) throws(StoreFailure) -> Attempt {
        var last: LockHolder?
        for _ in 0..<100 {
            let descriptor = try directory.openFile(fileName)
            if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
                let cause = errno
                let other = readHolder(descriptor)
                close(descriptor)
                guard cause == EWOULDBLOCK else {
                    throw StoreFailure(
                        "\(directory.path)/\(fileName) can't be locked: \(reason(cause))",
                        fix: "The file system may have no locks; give a local directory with --data-dir."
                    )
                }
                if let other, other.caller.process.liveness != .dead { return .held(by: other) }
                // Most likely its holder has just taken it and writes its name in this moment.
                last = other
                usleep(10_000)
                continue
            }
            let lock = ApplyLock(directory: directory, descriptor: descriptor)
            // The file may have been replaced between opening and locking it.
            guard lock.isHeld else { continue }
            try lock.write(holder)
            return .taken(lock)
        }
        return .held(by: last)
    }

    /// Whether the lock is (still) this process's: `plumb unlock` may have replaced the file.
    package var isHeld: Bool {
        var own = stat()
        var named = stat()
        guard fstat(descriptor, &own) == 0, stat("\(directory.path)/\(Self.fileName)", &named) == 0 else { return false }
        return own.st_ino == named.st_ino && own.st_dev == named.st_dev
    }

    /// Says anew who holds it.
    package func write(_ holder: LockHolder) throws(StoreFailure) {
        let bytes = Self.line(holder)
        let count = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        guard count == bytes.count, ftruncate(descriptor, off_t(bytes.count)) == 0 else {
            throw StoreFailure(
                "\(directory.path)/\(Self.fileName) can't be written: \(reason(count < 0 ? errno : ENOSPC))",
                fix: "Make room on its disk, or give another directory with --data-dir."
            )
        }
    }

    /// The controller takes it under one name a thousand times a day.
    private static let lastLine = Mutex<(holder: LockHolder, bytes: [UInt8])?>(nil)

    private static func line(_ holder: LockHolder) -> [UInt8] {
        lastLine.withLock { last in
            if let last, last.holder == holder { return last.bytes }
            let bytes = holder.json + [UInt8(ascii: "\n")]
            last = (holder, bytes)
            return bytes
        }
    }

    /// Ends the lock.
    package func release() {
        if isHeld { _ = ftruncate(descriptor, 0) }
        _ = flock(descriptor, LOCK_UN)
    }

    /// Puts a new file in the place of a lock that nobody seems to hold any more, so that the next apply can take it.
    ///
    /// A holder that lives after all notices before its next action (`isHeld`).
    package static func force(in directory: DataDirectory) throws(StoreFailure) {
        let draft = "\(fileName).\(getpid())"
        close(try directory.openFile(draft))
        guard rename("\(directory.path)/\(draft)", "\(directory.path)/\(fileName)") == 0 else {
            throw StoreFailure("\(directory.path)/\(fileName) can't be replaced: \(reason(errno))", fix: "Remove that file by hand.")
        }
    }

    private static func readHolder(_ descriptor: Int32) -> LockHolder? {
        var buffer = Array(repeating: UInt8(0), count: 65_536)
        let count = pread(descriptor, &buffer, buffer.count, 0)
        return count > 0 ? LockHolder(json: buffer[..<count]) : nil
    }
}

extension LockHolder {
    fileprivate var json: [UInt8] {
        let encoder = JSONEncoder()
        encoder.dateEncodingStrategy = .iso8601
        encoder.outputFormatting = .sortedKeys
        return (try? encoder.encode(self)).map(Array.init) ?? []
    }

    fileprivate init?(json: some Sequence<UInt8>) {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        guard let holder = try? decoder.decode(LockHolder.self, from: Data(json)) else { return nil }
        self = holder
    }
}
