// A system-manager of its own on a free port.
import {spawn} from 'node:child_process'
import {mkdtempSync, rmSync} from 'node:fs'
import {tmpdir} from 'node:os'
import {join} from 'node:path'

// startServer resolves to {origin, stop} once the server says where it listens.
export function startServer(binary, env = {}) {
  const data = mkdtempSync(join(tmpdir(), 'oakbrowser-'))
  const child = spawn(binary, ['-listen', '127.0.0.1:0', '-data', data], {env: {...process.env, ...env}, stdio: ['ignore', 'inherit', 'pipe']})
  const ended = new Promise(resolve => child.once('close', resolve))
  const stop = async () => {
    child.kill()
    await ended
    rmSync(data, {recursive: true, force: true})
  }
  return new Promise((resolve, reject) => {
    let log = ''
    const fail = why => stop().then(() => reject(new Error(`${binary} ${why}; it said:\n${log}`)))
    const timer = setTimeout(() => fail('does not say where it listens'), 30_000)
    child.once('error', e => { // no such program: there is nothing to stop
      clearTimeout(timer)
      rmSync(data, {recursive: true, force: true})
      reject(e)
    })
    child.once('exit', code => { clearTimeout(timer); fail(`ended with ${code}`) })
    child.stderr.setEncoding('utf8').on('data', text => {
      log += text
      const found = /system manager starts.* listen=(\S+)/.exec(log)
      if (!found) return
      clearTimeout(timer)
      child.removeAllListeners('exit')
      resolve({origin: 'http://' + found[1], stop})
    })
  })
}
