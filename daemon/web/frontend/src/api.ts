/** Requests to the server, and what can come of them. */

/** The session has ended: sign in and come back. */
export class SignedOut extends Error {}

/** Someone else was faster (409): `message` says calmly what has changed. */
export class Conflict extends Error {}

/** Any other answer that is not a success, in words for the reader. */
export class Failed extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

function token(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content ?? '';
}

async function refused(response: Response): Promise<never> {
  let said = '';
  try {
    const body = await response.json();
    if (typeof body.detail === 'string') said = body.detail;
    else if (typeof body.detail?.message === 'string') said = body.detail.message;
  } catch {
    // No JSON: the status is all there is
  }
  if (response.status === 401) throw new SignedOut(said);
  if (response.status === 409) throw new Conflict(said || 'This study has changed meanwhile.');
  throw new Failed(said || `The server answered ${response.status}.`, response.status);
}

/** `background`: nobody asked, so that it does not keep the session alive. */
export async function ask(
  url: string,
  method = 'GET',
  body?: unknown,
  background = false,
): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (background) headers['X-Background'] = '1';
  if (method !== 'GET') headers['X-CSRF-Token'] = token();
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: 'same-origin',
      redirect: 'manual',
    });
  } catch {
    throw new Failed('The server cannot be reached. Nothing is lost: try again.', 0);
  }
  // A redirect is the way to the sign-in page
  if (response.type === 'opaqueredirect') throw new SignedOut('');
  return response.ok ? response : refused(response);
}

export async function get<T>(url: string, background = false): Promise<T> {
  return (await ask(url, 'GET', undefined, background)).json() as Promise<T>;
}

/** The bytes of an object as they come, with how far they are: 0 to 1, or -1 where unknown. */
export async function bytes(url: string, progress: (share: number) => void): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(url, {
      credentials: 'same-origin',
      redirect: 'manual',
      headers: { Accept: 'application/dicom' },
    });
  } catch {
    throw new Failed('The server cannot be reached.', 0);
  }
  if (response.type === 'opaqueredirect') throw new SignedOut('');
  if (!response.ok || response.body === null) return refused(response);
  const total = Number(response.headers.get('Content-Length') ?? 0);
  let whole = new Uint8Array(total || 1 << 20);
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > whole.length) {
      const larger = new Uint8Array(Math.max(2 * whole.length, length + value.length));
      larger.set(whole.subarray(0, length));
      whole = larger;
    }
    whole.set(value, length);
    length += value.length;
    progress(total > 0 ? length / total : -1);
  }
  if (total > 0 && length < total) throw new Failed('The image came only in part.', 0);
  return whole.subarray(0, length);
}
