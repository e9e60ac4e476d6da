/** Stands for the JPEG XL decoder: the listener accepts no such object. */
export default function noJpegXl(): never {
  throw new Error('JPEG XL is not taken by this service.');
}
